#!/usr/bin/env bash
# A coordinator and three hospitals on this machine, with the commands of docs/deployment.md: each
# with its own folder, keys and (synthetic) images, as real processes that talk over TLS. Everything
# is below runs/hospitals and is made new every time. Needs fedskin on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$PWD/runs/hospitals
coordinator=$folder/coordinator
hospitals=(hospital-a hospital-b hospital-c)
serving=()

show() {
  printf '\n$ %s\n' "$*"
  "$@"
}

# Start a command in the background, and record its id also for the next start of this script.
stay() {
  local log=$1
  shift
  printf '\n$ %s &\n' "$*"
  "$@" >"$log" 2>&1 &
  serving+=($!)
  echo $! >>"$folder/serving.pids"
}

end_all() {
  trap '' INT TERM
  ((${#serving[@]} == 0)) && return
  printf '\nEnding coordinator and sites\n'
  kill "${serving[@]}" 2>/dev/null || true
  wait "${serving[@]}" || true
}

# If an earlier run of this script was killed, end what it left running (if it is still the same).
end_predecessors() {
  local pid
  [[ -e $folder/serving.pids ]] || return 0
  while read -r pid; do
    [[ $(ps -o args= -p "$pid") == *"$folder"* ]] || continue
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
  done <"$folder/serving.pids"
}

# Wait until a folder is served; fail if the command that serves it has ended.
await() {
  local pid=${serving[-1]}
  until [[ -e $1/serving.json ]]; do
    kill -0 "$pid" 2>/dev/null || { cat "$2"; exit 1; }
    sleep 0.2
  done
}

trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

end_predecessors
rm -rf "$folder"
mkdir -p "$folder"
port=$(python -c 'from operation.environment import free_port; print(free_port())')

show fedskin coordinator init "$coordinator" --host localhost --port "$port"

for number in 1 2 3; do
  name=${hospitals[number - 1]}
  show fedskin data synth "$folder/images/$name" --images 60 --seed "$number"
  show fedskin site init "$folder/$name" --name "$name" \
    --invitation "$coordinator/invitation" --data "$folder/images/$name"
  show fedskin coordinator admit "$coordinator" "$folder/$name/$name.pub" --name "$name"
done
show fedskin coordinator list "$coordinator"

show fedskin coordinator bundle "$coordinator"
for name in "${hospitals[@]}"; do
  # Without the list of files.
  show fedskin site approve "$folder/$name" "$coordinator"/fedskin-*.fab --yes | grep -v '^  '
done

stay "$folder/coordinator.txt" fedskin coordinator serve "$coordinator"
await "$coordinator" "$folder/coordinator.txt"
for name in "${hospitals[@]}"; do
  stay "$folder/$name.txt" fedskin site serve "$folder/$name"
done

show fedskin data synth "$folder/images/test" --images 60 --seed 4
show fedskin run deploy/hospitals.toml --on "$coordinator" --out "$folder/run" \
  -c "test-dir=$folder/images/test"
