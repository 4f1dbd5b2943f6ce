# A verdict on each of the paper's claims, by the criteria that the configuration declares.
rule judge_claims:
    input:
        sources("metarl.claims"),
        exact=CLAIMED["exact"],
        limit=CLAIMED["limit"],
        sampled=CLAIMED["sampled"],
        convergence=CLAIMED["convergence"],
        training=CLAIMED["training"],
        study=CLAIMED["study"],
        evaluation=CLAIMED["evaluation"],
        published=CLAIMED["published"],
        comparison=CLAIMED["comparison"],
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
        evidence=lambda wildcards, input: flags(dict(input.items())),
        folder=lambda wildcards, output: Path(output[0]).parent,
    message:
        "verdicts on the claims"
    shell:
        "metarl claims --criteria {params.criteria:q} {params.evidence}"
        " --output {params.folder} > {log} 2>&1"


# Of the claims that audits and convergence decide, which need no training: whether other random streams
# give the same verdicts (base_seed), hours earlier.
use rule judge_claims as judge_audits with:
    input:
        sources("metarl.claims"),
        exact=CLAIMED["exact"],
        limit=CLAIMED["limit"],
        sampled=CLAIMED["sampled"],
        convergence=CLAIMED["convergence"],
    output:
        expand(f"{RESULTS}/audit/claims.{{format}}", format=["md", "json"]),
    log:
        f"{LOGS}/audit/claims.log",
    message:
        "verdicts on the claims that audits decide"
