# One meta-training run. Checkpoints lie outside the outputs: an interrupted run's outputs are
# deleted, and the next attempt resumes from what metarl finds there for the same settings and code.
rule train:
    input:
        lambda wildcards: sources(
            "metarl.training.train", environment_module(wildcards.environment)
        ),
    output:
        table=f"{RESULTS}/train/{RUN}.parquet",
        policy=f"{RESULTS}/train/{RUN}.npz",
    log:
        f"{LOGS}/train/{RUN}.log",
    benchmark:
        f"{BENCHMARKS}/train/{RUN}.tsv"
    threads: 1  # runs outnumber cores: one each keeps all cores busy
    params:
        settings=lambda wildcards: run_flags(
            TRAINING[wildcards.environment, wildcards.algorithm], wildcards
        ),
        checkpoints=f"{RESULTS}/checkpoints",
        tensorboard=f"{RESULTS}/tensorboard/{RUN}",
    shell:
        "metarl train {params.settings} --threads {threads} --output {output.table}"
        " --policy {output.policy} --checkpoints {params.checkpoints}"
        " --tensorboard {params.tensorboard} > {log} 2>&1"


# The same at another inner sample size.
use rule train as train_study with:
    output:
        table=f"{RESULTS}/train/{STUDY_RUN}.parquet",
        policy=f"{RESULTS}/train/{STUDY_RUN}.npz",
    log:
        f"{LOGS}/train/{STUDY_RUN}.log",
    benchmark:
        f"{BENCHMARKS}/train/{STUDY_RUN}.tsv"
    params:
        settings=lambda wildcards: run_flags(
            STUDY[wildcards.environment, wildcards.algorithm, int(wildcards.sample_size)],
            wildcards,
        ),
        checkpoints=f"{RESULTS}/checkpoints",
        tensorboard=f"{RESULTS}/tensorboard/{STUDY_RUN}",
