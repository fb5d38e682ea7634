#!/usr/bin/env bash
# All that only a GPU can show, in less than eight minutes from a bare machine: bash benchmarks/gpu_session.sh RESULTS
# A rehearsal on the CPU: SHAPE=tiny DEVICE=cpu REPEATS=1 bash benchmarks/gpu_session.sh RESULTS
# Each part has its own limit in seconds and ends alone. PYTHON names an interpreter that has the package's dependencies.
set -u
results=$(realpath -m "${1:?usage: gpu_session.sh RESULTS}")
device=${DEVICE:-cuda} shape=${SHAPE:-7b} repeats=${REPEATS:-9} python=${PYTHON:-python3}
cd "$(dirname "$0")/.." && mkdir -p "$results" && export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
failed=0

part() { # name, seconds, command ...
    local name=$1 limit=$2 begin=$SECONDS
    shift 2
    timeout "$limit" "$@" >"$results/$name.log" 2>&1
    local code=$?
    echo "$name: exit code $code after $((SECONDS - begin)) s" | tee -a "$results/session.log"
    # pytest says 5 where no test is marked
    if [ $code -ne 0 ] && [ $code -ne 5 ]; then failed=1 && tail -5 "$results/$name.log"; fi
}

bench() { "$python" -m kimi_audio.cli bench --device "$device" --repeats "$repeats" --out "$results" "$@"; }
export -f bench && export device repeats python results

[ "$device" = cuda ] && part machine 20 nvidia-smi
part shape 150 bash -c "bench --shape $shape"
[ "$device" = cuda ] && part graphs 90 bash -c "bench --shape $shape --steps graphs --format int4 --format bfloat16 --out $results/graphs"
[ "$device" = cuda ] && part compiled 90 bash -c "bench --shape $shape --steps compiled --format bfloat16 --out $results/compiled"
part nano 60 bash -c "bench --model nano"
[ "$device" = cuda ] && part tests 70 "$python" -m pytest -q -m gpu
exit $failed
