#!/bin/sh
# Make pictures of README.md and docs/ again, in a copy of the committed state:
#
#     . .venv/bin/activate && docs/make_images.sh digits mnist comparison cost
#
# `digits` also needs Chromium, which photographs the report. The pictures mnist_study_* are of the
# study that docs/tuning.md describes: results/tune/*.png.
set -eu
home=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git clone --quiet "$home" "$copy"
cd "$copy"
export PYTHONPATH="$copy/src" MLFLOW_DISABLE_TELEMETRY=true DVC_NO_ANALYTICS=true

take() {  # prefix, folder, name of each picture
    prefix=$1 folder=$2
    shift 2
    for name; do cp "$folder/$name.png" "$home/docs/images/${prefix}_$name.png"; done
}

for what; do
    case $what in
    digits)
        dvc repro
        take digits results/render samples
        chromium --headless --no-sandbox --hide-scrollbars --window-size=1100,980 \
            --screenshot="$home/docs/images/digits_report.png" \
            "file://$copy/results/evaluate/report.html"
        ;;
    mnist)  # model B of docs/results.md
        dvc exp run -S data.name=mnist -S train.epochs=10
        take mnist results/render samples interpolations traversals_image latent_scatter latent_images classes
        git checkout --quiet params.yaml
        ;;
    comparison)
        dvc --cd pipeline/comparison repro
        take mnist results/comparison/figures comparison
        ;;
    restoration)  # the model is trained first, 9 CPU minutes
        python -m benchmarks.restoration --picture "$home/docs/images/mnist_restoration.png"
        ;;
    cost)
        python -m benchmarks.cost --output "$home/docs/images/cost.png"
        ;;
    *)
        echo "$what: none of digits, mnist, comparison, restoration, cost" >&2
        exit 2
        ;;
    esac
done
