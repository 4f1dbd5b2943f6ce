# A verdict on each of the paper's claims, by the criteria that the configuration declares.
rule judge_claims:
    input:
        sources("metarl.claims"),
        exact=JUDGED_TABLES,
        limit=LIMIT_TABLE,
        sampled=SAMPLED_TABLES,
        convergence=CONVERGENCE_TABLES,
        training=TRAINING_TABLES,
        study=STUDY_TABLES,
        evaluation=EVALUATION_TABLES,
        published=ARCHIVED_RETURNS,
    output:
        report(
            f"{FIGURES}/claims.md",
            caption="../report/claims.rst",
            category="Claims",
            labels={"figure": "Verdicts"},
        ),
        f"{FIGURES}/claims.json",
    log:
        f"{LOGS}/claims.log",
    params:
        criteria=json.dumps(config["claims"]),
        folder=lambda wildcards, output: Path(output[0]).parent,
    message:
        "verdicts on the claims"
    shell:
        "metarl claims --criteria {params.criteria:q} --exact {input.exact} --limit {input.limit} --sampled {input.sampled}"
        " --convergence {input.convergence} --training {input.training} --study {input.study}"
        " --evaluation {input.evaluation} --published {input.published}"
        " --output {params.folder} > {log} 2>&1"


# Of the claims that audits and convergence decide, which need no training: whether other random streams
# give the same verdicts (base_seed), hours earlier.
rule judge_audits:
    input:
        sources("metarl.claims"),
        exact=JUDGED_TABLES,
        limit=LIMIT_TABLE,
        sampled=SAMPLED_TABLES,
        convergence=CONVERGENCE_TABLES,
    output:
        expand(f"{RESULTS}/audit/claims.{{format}}", format=["md", "json"]),
    log:
        f"{LOGS}/audit/claims.log",
    params:
        criteria=json.dumps(config["claims"]),
        folder=lambda wildcards, output: Path(output[0]).parent,
    message:
        "verdicts on the claims that audits decide"
    shell:
        "metarl claims --criteria {params.criteria:q} --exact {input.exact} --limit {input.limit}"
        " --sampled {input.sampled} --convergence {input.convergence}"
        " --output {params.folder} > {log} 2>&1"
