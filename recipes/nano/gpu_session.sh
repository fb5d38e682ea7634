#!/usr/bin/env bash
# nano learns on a GPU in ten minutes: bash recipes/nano/gpu_session.sh FOLDER OUT
# A rehearsal on the CPU, with a folder of some minutes of speech: DEVICE=cpu SEMANTIC_STEPS=130 BATCH_S=20 BATCHES=1
# FLOW_STEPS=20 VOCODER_STEPS=20 LLM_STEPS=20 ROWS=8 LOADERS=1 bash recipes/nano/gpu_session.sh FOLDER OUT
#
# FOLDER holds what was carried there: what recipes.nano.packed wrote, of which the corpora may still come while the
# session is at work, and speech-start.tar.gz of whisper/ (an encoder), start/ (a model whose LLM, flow matching and vocoder
# go on) and semantic/phonemes.json. OUT receives the weights, at 8 bits, and the logs.
set -eu
folder=$(realpath "${1:?usage: gpu_session.sh FOLDER OUT}") out=$(realpath -m "${2:?usage: gpu_session.sh FOLDER OUT}")
device=${DEVICE:-cuda} python=${PYTHON:-python3} work=${WORK:-/tmp/nano} loaders=${LOADERS:-10} until_s=${UNTIL_S:-525} step_ms=${STEP_MS:-140}
semantic_steps=${SEMANTIC_STEPS:-1500} flow_steps=${FLOW_STEPS:-4000} vocoder_steps=${VOCODER_STEPS:-2500}
batch_s=${BATCH_S:-300} batches=${BATCHES:-4} rows=${ROWS:-64}
cd "$(dirname "$0")/../.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
logs=$work/logs corpora=$work/corpora
mkdir -p "$logs" "$out"
voices="$work/kokoro-spoken $work/kokoro-replies $work/kokoro-closed"
kimi="$python -m kimi_audio.cli"

told() { # name, command ...: its output goes into a file, how long it took is said here
    local name=$1 begin=$SECONDS
    shift
    "$@" >"$logs/$name.log" 2>&1 && echo "$name: $((SECONDS - begin)) s, done at $SECONDS s" && return
    echo "$name ended with $? after $((SECONDS - begin)) s, at $SECONDS s" && tail -15 "$logs/$name.log" && return 1
}

keep() {
    kill $(jobs -p) 2>/dev/null || true
    for run in semantic lm voice/work/flow voice/work/vocoder; do
        if [ -f "$work/$run/log.jsonl" ]; then cp "$work/$run/log.jsonl" "$logs/${run//\//-}.jsonl"; fi
    done
    tar -cz -C "$logs" -f "$out/logs.tar.gz" .
}
trap keep EXIT

voicing() { $python -m recipes.nano.voicing $voices --out "$work/voice" --flow-steps $flow_steps --vocoder-steps $vocoder_steps "$@"; }
part() { voicing --device $device --batches $batches --loading-processes 2 "$@"; }

unpack() {
    local unpacking=
    for archive in "$@"; do tar -xz -f "$archive" -C "$work" & unpacking="$unpacking $!"; done
    wait $unpacking
}

unpack "$folder"/speech-*.tar.gz
{ # the recordings are read once, for both parts
    told recordings voicing --base "$work/start" --only recordings && touch "$work/recordings" && told vocoder part --base "$work/start" --only vocoder
} &
vocoder=$!
voice() { # both parts as they are stored
    told flow part --base "$work/base" --only flow
    until ! kill -0 $vocoder 2>/dev/null; do sleep 1; done
    told voice voicing --base "$work/base"
    cp "$work/voice/audio_detokenizer/model.safetensors" "$out/flow.safetensors"
    cp "$work/voice/vocoder/model.safetensors" "$out/vocoder.safetensors"
}
told semantic $python -m recipes.nano.semantic "$work/synthetic-clear" --natural $voices "$work"/kokoro-heard "$work"/kokoro-questions \
    --whisper "$work/whisper" --out "$work/semantic" --steps $semantic_steps --batch-s $batch_s --device $device --loading-processes $loaders
cp "$work/semantic/model.safetensors" "$out/semantic.safetensors"
told base $python -m recipes.nano.base "$work/base" --whisper "$work/whisper" --semantic "$work/semantic/model.safetensors" \
    --detokenizer "$work/start" --llm "$work/start"
until [ -f "$work/recordings" ]; do sleep 1; done
voice &
voice=$!
until [ -f "$folder/complete" ]; do sleep 1; done
told unpack unpack "$folder"/corpora-*.tar.gz
cat "$corpora"/heard.jsonl "$corpora"/natural.jsonl "$corpora"/aloud.jsonl "$corpora"/natural-aloud.jsonl "$corpora"/talks.jsonl "$corpora"/tasks.jsonl >"$corpora/all.jsonl"
checking=
for name in heard natural aloud natural-aloud talks tasks; do # the training finds beside the files what they hold
    told check-$name $kimi prepare validate "$corpora/$name.jsonl" --headers-only --model "$work/base" & checking="$checking $!"
done
told tokens $kimi prepare tokens "$corpora/all.jsonl" --model "$work/base" --out "$corpora/tokens" --device $device --workers $loaders
wait $checking || true
# As many steps as there is time for; what is not learned then is left, and the weights of then are taken.
left_s=$((until_s - SECONDS))
data=()
for name in heard natural aloud natural-aloud talks tasks; do data+=(--data "$corpora/$name.jsonl"); done
llm_steps=${LLM_STEPS:-$(((left_s - 15) * 1000 / step_ms))}
told llm timeout $left_s $kimi train recipes/nano/training.py:on_gpu --set base="$work/base" --set loop.steps=$llm_steps --set rows=$rows \
    --set loop.loading_processes=$loaders --out "$work/lm" --tokens "$corpora/tokens" --device $device \
    "${data[@]}" || true
told export $kimi export "$work/lm" --out "$work/llm" --int8
cp "$work/llm/model.safetensors" "$out/llm.safetensors"
wait $voice
