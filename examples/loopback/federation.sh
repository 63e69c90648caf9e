#!/usr/bin/env bash
# A whole project on one machine: a hub, four hospitals, a data scientist, a privacy officer.
# Every line that begins with $ is what these people would type, in the folder named above it.
#
#   make federation                                  all of it, in runs/loopback
#   examples/loopback/federation.sh FOLDER           in another folder
#   examples/loopback/federation.sh --dry-run        only print the commands
set -euo pipefail

DRY_RUN=
if [[ ${1:-} == --dry-run ]]; then DRY_RUN=yes; shift; fi

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PATH="$REPOSITORY/.venv/bin:$PATH"
FOLDER=${1:-$REPOSITORY/runs/loopback}
SERVER=${SERVER:-localhost}
PORT=${PORT:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}
HOSPITALS=("St. Mary's Hospital" "Dr. Weber Clinic" "North General Hosp." "Univ. Hospital East")
SITES=(St-Marys-Hospital Dr-Weber-Clinic North-General-Hosp Univ-Hospital-East)  # as FLARE calls them
KINDS=(animal,cardiac high_scatter,image_intensifier low_dose,neuro_dsa phantom,roadmap)
LEAD=lead@hub.example.org OFFICER=officer@hub.example.org ADMIN=admin@hub.example.org

# --- How the steps are shown and run.

step() { printf '\n\n== %s\n' "$*"; }

at() {  # the machine of a party: a folder of its own, which is also its home
  printf '\n# at %s\n' "$1"
  [[ $DRY_RUN ]] || { mkdir -p "$FOLDER/$1" && cd "$FOLDER/$1" && export HOME=$PWD; }
}

typed() {  # the words of a command as a person writes them
  local word line=
  for word; do
    [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word="\"$word\""
    line+="$word "
  done
  printf '$ %s\n' "${line% }"
}

run() {
  typed "$@"
  [[ $DRY_RUN ]] || "$@"
}

start() {  # a kit's own script, which puts its process into the background
  printf '$ bash kit/startup/start.sh >> kit.log 2>&1\n'
  [[ $DRY_RUN ]] || bash kit/startup/start.sh >>kit.log 2>&1 </dev/null
}

write() {  # a file, with what comes on standard input
  printf '$ edit %s\n' "$1"
  if [[ $DRY_RUN ]]; then cat >/dev/null; else tee "$1" | sed 's/^/    /'; fi
}

# --- Nothing is left running, however this ends.

leftover() { pgrep -f -- "$FOLDER/[^ ]*/kit" || true; }  # the kits name their folder when they run

stop_all() {
  local status=$?
  trap - EXIT INT TERM
  if [[ -n $(leftover) ]]; then
    printf '\n== Something is still running; stopping it\n'
    for pid in $(leftover); do kill -TERM "$pid" 2>/dev/null || true; done
    sleep 2
    for pid in $(leftover); do kill -KILL "$pid" 2>/dev/null || true; done
  fi
  exit "$status"
}

prepare() {
  if [[ -e $FOLDER && ! -e $FOLDER/.fedefm_loopback ]]; then
    echo "$FOLDER exists and is not the folder of an earlier federation; name another one" >&2
    exit 2
  fi
  mkdir -p "$FOLDER" && FOLDER=$(cd "$FOLDER" && pwd) && touch "$FOLDER/.fedefm_loopback"
  if [[ -n $(leftover) ]]; then
    echo "a federation is running in $FOLDER already; wait for its end" >&2
    exit 2
  fi
  find "$FOLDER" -mindepth 1 -maxdepth 1 ! -name .fedefm_loopback -exec rm -rf {} +
  export MPLCONFIGDIR="$FOLDER/.matplotlib" OMP_NUM_THREADS=1  # one core each is enough here
  trap stop_all EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

[[ $DRY_RUN ]] || prepare

# --- What people do.

step "1. The hub describes the project and makes a kit for everybody"
at hub
write project.yml <<EOF
api_version: 3
name: catheters
description: four hospitals on one machine
participants:
  - {name: $SERVER, type: server, org: hub, fed_learn_port: $PORT}
  - {name: ${SITES[0]}, type: client, org: st_marys}
  - {name: ${SITES[1]}, type: client, org: weber}
  - {name: ${SITES[2]}, type: client, org: north}
  - {name: ${SITES[3]}, type: client, org: university}
  - {name: $LEAD, type: admin, org: hub, role: lead}
  - {name: $OFFICER, type: admin, org: hub, role: member}
  - {name: $ADMIN, type: admin, org: hub, role: project_admin}
builders:
  - path: nvflare.lighter.impl.workspace.WorkspaceBuilder
  - path: nvflare.lighter.impl.static_file.StaticFileBuilder
    args: {config_folder: config, scheme: grpc}
  - path: nvflare.lighter.impl.cert.CertBuilder
  - path: provisioning.builders.HardenedKitBuilder
EOF
run nvflare provision -p project.yml -w kits
KITS=kits/catheters/prod_00

step "2. Each kit goes to its owner (here: is copied), and nowhere else"
run cp -R "$KITS/$SERVER" kit
for site in "${SITES[@]}"; do
  run mkdir -p "../$site"
  run cp -R "$KITS/$site" "../$site/kit"
done
for person in "$LEAD" "$OFFICER" "$ADMIN"; do
  run mkdir -p "../${person%%@*}"
  run cp -R "$KITS/$person" "../${person%%@*}/kit"
done

step "3. Each hospital brings its images (here: simulated ones), and says what it allows"
for i in "${!SITES[@]}"; do
  at "${SITES[$i]}"
  run fedefm data simulate images --domains "${KINDS[$i]}" --patients 100 --frames 1 --size 64 \
    --seed "$((i + 1))"
  run fedefm data check images/manifest.csv
  run mkdir -p ledger witness
  write kit/local/fedefm_site.yaml <<EOF
datasets:
  pretraining:
    manifest: ../../images/manifest.csv
    labels: [${KINDS[$i]//,/, }]
policy:
  require_dp: true
  epsilon_cap: 10
  delta: 1.0e-3
  min_cohort: 2
ledger: ../../ledger/ledger.sqlite
ledger_witness: ../../witness/head.json
EOF
done

step "4. The hub starts the server, and each hospital its kit"
at hub
start
for site in "${SITES[@]}"; do
  at "$site"
  start
done

step "5. The data scientist sends a job, watches it and brings the result home"
at lead
run nvflare config add lead kit
run nvflare config use lead
run cp "$REPOSITORY/examples/loopback/catheters.yaml" catheters.yaml
run fedefm job export catheters.yaml jobs --sites "$(IFS=,; echo "${SITES[*]}")"
run nvflare job submit -j jobs/catheters
[[ $DRY_RUN ]] && JOB=JOB || JOB=$(nvflare --format json job list | python3 -c '
import json, sys; print(json.load(sys.stdin)["data"][0]["job_id"])')
run nvflare job wait "$JOB"
run nvflare job download "$JOB" -o results
run nvflare job list

step "6. Each hospital looks at what it spent"
for site in "${SITES[@]}"; do
  at "$site"
  run fedefm privacy status kit/local/fedefm_site.yaml
  run fedefm privacy verify kit/local/fedefm_site.yaml
done

step "7. The hub ends it all"
at admin
run nvflare config add admin kit
run nvflare config use admin
run nvflare system shutdown all --force
