# Meta-training, the seeds of one configuration in one job: they share the start of TensorFlow and what
# it compiles. Checkpoints lie outside the outputs: an interrupted job's outputs are deleted, and the
# next attempt resumes from what metarl finds there for the same settings and code; so a seed that is
# added is the only one that runs.
for environment in ENVIRONMENTS:

    rule:
        name:
            f"train_{rule_name(environment)}"
        input:
            sources("metarl.training.train", environment_module(environment)),
        output:
            tables=expand(
                f"{RESULTS}/train/{RUN}.parquet", seed=SEEDS[environment], allow_missing=True
            ),
            policies=expand(
                f"{RESULTS}/train/{RUN}.npz", seed=SEEDS[environment], allow_missing=True
            ),
        log:
            f"{LOGS}/train/{{environment}}/{{algorithm}}.log",
        benchmark:
            f"{BENCHMARKS}/train/{{environment}}/{{algorithm}}.tsv"
        wildcard_constraints:
            environment=re.escape(environment),
        threads: 1  # jobs outnumber cores: one each keeps all cores busy
        params:
            settings=lambda wildcards: flags(
                vars(TRAINING[wildcards.environment, wildcards.algorithm]), omit=["seed"]
            ),
            seeds=SEEDS[environment],
            stem=lambda wildcards, output: of_each_seed(output),
            checkpoints=f"{RESULTS}/checkpoints",
            tensorboard=f"{RESULTS}/tensorboard",
        shell:
            "metarl train {params.settings} --seeds {params.seeds} --threads {threads}"
            " --output {params.stem}.parquet --policy {params.stem}.npz"
            " --checkpoints {params.checkpoints}"
            " --tensorboard {params.tensorboard}/{wildcards.environment}/{wildcards.algorithm}/seed_{{seed}}"
            " > {log} 2>&1"


# The same at other inner sample sizes.
rule train_study:
    input:
        sources("metarl.training.train", environment_module(STUDIED)),
    output:
        tables=expand(
            f"{RESULTS}/train/{STUDY_RUN}.parquet", seed=SEEDS[STUDIED], allow_missing=True
        ),
        policies=expand(f"{RESULTS}/train/{STUDY_RUN}.npz", seed=SEEDS[STUDIED], allow_missing=True),
    log:
        f"{LOGS}/train/{{environment}}/{{algorithm}}/N{{sample_size}}.log",
    benchmark:
        f"{BENCHMARKS}/train/{{environment}}/{{algorithm}}/N{{sample_size}}.tsv"
    threads: 1
    params:
        settings=lambda wildcards: flags(
            vars(STUDY[wildcards.environment, wildcards.algorithm, int(wildcards.sample_size)]),
            omit=["seed"],
        ),
        seeds=SEEDS[STUDIED],
        stem=lambda wildcards, output: of_each_seed(output),
        checkpoints=f"{RESULTS}/checkpoints",
        tensorboard=f"{RESULTS}/tensorboard",
    shell:
        "metarl train {params.settings} --seeds {params.seeds} --threads {threads}"
        " --output {params.stem}.parquet --policy {params.stem}.npz"
        " --checkpoints {params.checkpoints}"
        " --tensorboard {params.tensorboard}/{wildcards.environment}/{wildcards.algorithm}/N{wildcards.sample_size}/seed_{{seed}}"
        " > {log} 2>&1"
