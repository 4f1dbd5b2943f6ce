# Meta-training, the seeds of one configuration in one job: they share the start of TensorFlow and what
# it compiles. Checkpoints lie outside the outputs: an interrupted job's outputs are deleted, and the
# next attempt resumes from what metarl finds there for the same settings and code; so a seed that is
# added is the only one that runs. A rule an environment, which has seeds of its own, and one for runs
# at other inner sample sizes.
for name, run, environment in (
    *((f"train_{rule_name(environment)}", RUN, environment) for environment in ENVIRONMENTS),
    ("train_study", STUDY_RUN, STUDIED),
):

    rule:
        name:
            name
        input:
            lambda wildcards, environment=environment: sources_with(
                [run_settings(wildcards).estimator],
                "metarl.training.train",
                environment_module(environment),
            ),
        output:
            tables=expand(
                f"{RESULTS}/train/{run}.parquet", seed=SEEDS[environment], allow_missing=True
            ),
            policies=expand(
                f"{RESULTS}/train/{run}.npz", seed=SEEDS[environment], allow_missing=True
            ),
        log:
            f"{LOGS}/train/{Path(run).parent}.log",
        benchmark:
            f"{BENCHMARKS}/train/{Path(run).parent}.tsv"
        wildcard_constraints:
            environment=re.escape(environment),
        threads: 1  # jobs outnumber cores: one each keeps all cores busy
        resources:
            # Minutes: a day a seed. The longest run of config/paper.yaml takes 22 hours.
            runtime=1440 * len(SEEDS[environment]),
        params:
            settings=lambda wildcards: flags(vars(run_settings(wildcards)), omit=["seed"]),
            seeds=SEEDS[environment],
            stem=lambda wildcards, output: of_each_seed(output, "train"),
            checkpoints=f"{RESULTS}/checkpoints",
            tensorboard=lambda wildcards, output: of_each_seed(output, "tensorboard"),
        message:
            (
                "training of {wildcards.algorithm} on {wildcards.environment}, seeds {params.seeds}"
                + (", N = {wildcards.sample_size}" if name == "train_study" else "")
            )
        shell:
            "metarl train {params.settings} --seeds {params.seeds} --threads {threads}"
            " --output {params.stem}.parquet --policy {params.stem}.npz"
            " --checkpoints {params.checkpoints} --tensorboard {params.tensorboard} > {log} 2>&1"
