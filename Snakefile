# What `snakemake all` runs: the exact audit, meta-training, evaluation, and from their tables the
# figures, the claims and a page of all. Settings: config/; how it runs: profiles/; rules:
# workflow/rules/; what the rules call: `metarl --help`.
import os
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.utils import min_version

from metarl.configuration import read_configuration, require_compared, require_scale
from metarl.errors import InputError

min_version("9.27")

# A plug-in that the configuration names may import TensorFlow, which reports on the hardware.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A file given with --configfile, or the default one. Not by `configfile:`, which merges the default
# into the other, knows no `extends` and does not name the file that it cannot read.
FILES = [*workflow.overwrite_configfiles] or [Path(workflow.basedir, "config/config.yaml")]
try:
    if len(FILES) > 1:
        raise InputError(
            f"--configfile names {len(FILES)} files; give one, which extends the others"
        )
    config = read_configuration(FILES[0], workflow.config_settings.config)
    if "paper_figures" in sys.argv:  # Snakemake knows its targets later than this
        require_scale(config, Path(workflow.basedir, "config/config.yaml"))
    if "comparison" in sys.argv:
        require_compared(config)
except InputError as error:
    logger.error(str(error))
    sys.exit(2)
workflow.configfiles[:] = FILES  # for the report


report: "workflow/report/workflow.rst"


# `pip install -r requirements.txt` is all that a bare run needs; this is the Python that its pins
# are tested on, for those who run the jobs in containers (--software-deployment-method apptainer).
container: "docker://python:3.11"


include: "workflow/rules/common.smk"
include: "workflow/rules/figures.smk"


# The tables stand beside the figures so that one that was deleted is made anew, though figures exist.
rule all:
    default_target: True
    input:
        AUDIT_TABLES,
        LIMIT_TABLE,
        SAMPLED_TABLES,
        CONVERGENCE_TABLES,
        TRAINING_TABLES,
        STUDY_TABLES,
        EVALUATION_TABLES,
        PICTURES,
        LEDGER,
        f"{FIGURES}/index.html",


# The verdicts that need no training.
rule audits:
    input:
        f"{RESULTS}/audit/claims.json",


include: "workflow/rules/audit.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/published.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/page.smk"
