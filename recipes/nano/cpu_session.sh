#!/usr/bin/env bash
# nano learns further on a CPU, from the bundled one on: bash recipes/nano/cpu_session.sh OUT STEPS
# The text row and the acoustic encoder take STEPS of hearing and knowing, then the codes a third as many of speaking.
# Everything goes on where it was stopped, as long as SEED, SHARE, STEPS and the folders are the same. SEED draws other texts.
# A rehearsal, for which the sounds of the closed tasks are still made whole: SHARE=0.01 bash recipes/nano/cpu_session.sh /tmp/nano 2
#
# KOKORO holds its ONNX file and voices; READERS (speechocean762), and ORDERS (coffee commands) with what Whisper wrote of them
# in ORDERS_WRITTEN (python -m recipes.nano.people), are people; without these names, none are heard. OUT/model is what came of it.
set -eu
out=$(realpath -m "${1:?usage: cpu_session.sh OUT STEPS}") steps=${2:?usage: cpu_session.sh OUT STEPS}
kokoro=$(realpath "${KOKORO:-runs/teachers/kokoro}") share=${SHARE:-1} seed=${SEED:-1} python=${PYTHON:-python3} cores=${CORES:-$(nproc)}
people=()
if [ -n "${READERS:-}" ]; then people+=(--readers "$(realpath "$READERS")"); fi
if [ -n "${ORDERS:-}" ]; then people+=(--orders "$(realpath "$ORDERS")" --transcripts "$(realpath "${ORDERS_WRITTEN:?}")"); fi
cd "$(dirname "$0")/../.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE # one core for each process
corpora=$out/corpora
mkdir -p "$corpora"

speak() { # module, kind, recordings of it
    "$python" -m "recipes.nano.$1" "$out/$1-$2" --kind "$2" --seed "$seed" \
        --count "$(awk "BEGIN { print int($3 * $share) + 2 }")" "${@:4}"
}

natural() {
    for kind in spoken:2300 replies:1000 closed:400 heard:1600 facts:1800 questions:1000 names:2800 reworded:1200 commands:200; do
        speak kokoro "${kind%:*}" "${kind#*:}" --kokoro "$kokoro"
    done
}

synthetic() {
    for kind in clear:7000 heard:12000 facts:12000 questions:4000 commands:2000; do
        speak synthetic "${kind%:*}" "${kind#*:}"
    done
}

in_rows() { # name, recordings, kinds of them
    local of=() kind
    for kind in "${@:3}"; do of+=("$out/$1-$kind"); done
    "$python" -m recipes.nano.joined "$out/joined-$1" --of "${of[@]}" --seed "$seed" --count "$(awk "BEGIN { print int($2 * $share) + 1 }")"
}

natural &
synthetic
wait $!
in_rows kokoro 1500 heard facts questions names spoken replies
in_rows synthetic 700 heard facts questions
"$python" -m recipes.nano.corpora "$corpora" --speech "$out"/{synthetic-{heard,facts,questions,commands},joined-synthetic} \
    --natural "$out"/{kokoro-{heard,facts,questions,names,reworded,commands,spoken,replies,closed},joined-kokoro} \
    --spoken "$out"/synthetic-clear --natural-spoken "$out"/kokoro-spoken --replies "$out"/kokoro-replies "${people[@]}" \
    --typed 30000 --facts --reworded --numbers 40000 --tables 60000 --prose &
"$python" -m recipes.nano.tasks "$corpora" --spoken "$out"/kokoro-spoken --replies "$out"/kokoro-replies "$out"/kokoro-closed
wait $!
for name in talks natural-talks; do
    "$python" -m recipes.nano.transcribed "$corpora/$name.jsonl" "$corpora/$name-transcribed.jsonl" --model nano
done

learn() { # what, base, out, steps, names of the corpora
    local data=() name tokens=$corpora/tokens-$1
    for name in "${@:5}"; do
        data+=(--data "$corpora/$name.jsonl")
        "$python" -m kimi_audio.cli prepare tokens "$corpora/$name.jsonl" --model "$2" --out "$tokens"
    done
    "$python" -m torch.distributed.run --nproc-per-node "$cores" -m kimi_audio.cli train "recipes/nano/training.py:$1" --out "$out/lm-$1" \
        --tokens "$tokens" "${data[@]}" --set base="$2" --set loop.steps="$4" --set loop.micro_batches=$((2 * cores))
    "$python" -m kimi_audio.cli export "$out/lm-$1" --out "$3"
}

learn together nano "$out/hears" "$steps" heard natural aloud natural-aloud talks talks-transcribed natural-talks natural-talks-transcribed \
    tasks typed facts reworded numbers tables prose
rm -rf "$out/means" "$out/model" # a mean with what a run began from is better than its end
"$python" -m recipes.nano.mean kimi_audio/nano "$out/hears" --out "$out/means"
learn speaking "$out/means" "$out/speaks" $((steps / 3 + 1)) aloud natural-aloud talks tasks
"$python" -m recipes.nano.mean "$out/means" "$out/speaks" --out "$out/model" # of the branches: their text is the same
