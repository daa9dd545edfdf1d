"""What may be wrong in an experiment file, with the message that says so."""

from __future__ import annotations

WRONG: dict[str, tuple[str, str]] = {
    "misspelt section": ("schedular: asha", "schedular: 'asha': unknown key; did you mean 'scheduler'?"),
    "section that is nothing like any": (
        "xyzzy: 1",
        "xyzzy: 1: unknown key; known: budget, data, engine, evaluator, method, name, recipe, retrain, sampler, "
        "scheduler, seed, space",
    ),
    "key that is a number": ("1: 2", "1: 2: unknown key; known: budget,"),
    "key that is nothing": ("~: 2", "None: 2: unknown key"),
    "misspelt option": (
        "scheduler: {name: asha, max_resources: 9}",
        "scheduler.max_resources: 9: unknown key; did you mean 'max_resource'?",
    ),
    "option of another component": (
        "scheduler: {name: hyperband, trials: 9}",
        "scheduler.trials: 9: unknown key; known: eta, iterations, max_resource, min_resource, overlap, rounding",
    ),
    "misspelt name": (
        "scheduler: hyperbund",
        "scheduler.name: 'hyperbund': unknown scheduler; did you mean 'hyperband'?; one of: asha,",
    ),
    "no name": ("scheduler: {eta: 3}", "scheduler.name: None: needs a name; one of: asha,"),
    "name that is a list": ("scheduler: {name: [asha]}", "scheduler.name: ['asha']: unknown scheduler"),
    "name that is a mapping": ("scheduler: {name: {asha: 3}}", "scheduler.name: {'asha': 3}: unknown scheduler"),
    "name that is a number": ("scheduler: {name: 3}", "scheduler.name: 3: unknown scheduler"),
    "section that is a list": (
        "scheduler: [asha]",
        "scheduler: ['asha']: must be a name, or a mapping with a name and options",
    ),
    "whole number as text": (
        "scheduler: {name: asha, eta: four}",
        "scheduler.eta: 'four': must be a whole number, not str",
    ),
    "whole number as fraction": ("scheduler: {name: asha, eta: 3.5}", "scheduler.eta: 3.5: must be a whole number"),
    "whole number as truth": ("scheduler: {name: asha, eta: yes}", "scheduler.eta: True: must be a whole number"),
    "number as text": (
        "evaluator: {name: training, learning_rate: fast}",
        "evaluator.learning_rate: 'fast': must be a number, not str",
    ),
    "number beyond all floats": (
        f"evaluator: {{name: training, learning_rate: {10**400}}}",
        f"evaluator.learning_rate: {10**400}: must be a number",
    ),
    "truth as number": (
        "evaluator: {name: training, nesterov: 1}",
        "evaluator.nesterov: 1: must be true or false, not int",
    ),
    "text as number": ("data: {path: 5}", "data.path: 5: must be text, not int"),
    "text as date": ("name: 2020-01-01", "name: datetime.date(2020, 1, 1): must be text, not date"),
    "choice that is none": (
        "evaluator: {name: training, schedule: cosin}",
        "evaluator.schedule: 'cosin': must be one of: cosine, cosine_restarts, exponential, step, constant; "
        "did you mean 'cosine'?",
    ),
    "choice of another type": (
        "evaluator: {name: training, schedule: true}",
        "evaluator.schedule: True: must be one of: cosine, cosine_restarts, exponential, step, constant",
    ),
    "choice that is a list": (
        "evaluator: {name: training, schedule: [step]}",
        "evaluator.schedule: ['step']: must be one of",
    ),
    "list that is a number": (
        "evaluator: {name: training, milestones: 0.5}",
        "evaluator.milestones: 0.5: must be a list",
    ),
    "wrong value in a list": (
        "evaluator: {name: training, milestones: [0.1, half]}",
        "evaluator.milestones[1]: 'half': must be a number, not str",
    ),
    "wrong type in an option that may be null": (
        "engine: {name: local, time_limit: soon}",
        "engine.time_limit: 'soon': must be a number, not str",
    ),
    "null in an option that may not": ("scheduler: {name: asha, eta: null}", "scheduler.eta: None: must be a whole"),
    "nested option misspelt": (
        "engine: {name: spark_async, spark: {mster: yarn}}",
        "engine.spark.mster: 'yarn': unknown key; did you mean 'master'?",
    ),
    "nested option of the wrong type": (
        "engine: {name: spark_async, spark: {conf: [a]}}",
        "engine.spark.conf: ['a']: must be a mapping with names as keys",
    ),
    "nested value out of range": (
        "engine: {name: spark_async, spark: {wait_seconds: -1}}",
        "engine.spark.wait_seconds: -1.0: give at least 0",
    ),
    "nested section that is none": (
        "engine: {name: spark_async, spark: yarn}",
        "engine.spark: 'yarn': must be a mapping of options",
    ),
    "mandatory option left out": ("data: {}", "data.path: None: missing; it has no default"),
    "value out of range": ("scheduler: {name: asha, eta: 1}", "scheduler.eta: 1: must be at least 2"),
    "not a number": (
        "evaluator: {name: training, learning_rate: .nan}",
        "evaluator.learning_rate: nan: must be greater than 0",
    ),
    "seed out of range": ("seed: 0", "seed: 0: must be at least 1"),
    "seed of the wrong type": ("seed: x", "seed: 'x': must be a whole number"),
    "budget without end": ("budget: {seconds: 0}", "budget.seconds: 0.0: must be greater than 0, or left out"),
    "budget that is not a number": ("budget: {seconds: .nan}", "budget.seconds: nan: must be greater than 0"),
    "budget of no attempts": ("budget: {attempts: 0}", "budget.attempts: 0: must be at least 1"),
    "budget that is a number": ("budget: 60", "budget: 60: must be a mapping of options"),
    "misspelt budget": ("budget: {second: 60}", "budget.second: 60: unknown key; did you mean 'seconds'?"),
    "retraining for nothing": ("retrain: {epochs: 0}", "retrain.epochs: 0: must be at least 1"),
    "retraining without seeds": ("retrain: {seeds: 0}", "retrain.seeds: 0: must be at least 1"),
    "recipe that is a list": ("recipe: [dropout]", "recipe: ['dropout']: must be a mapping with names as keys"),
    "half a character in a choice": (
        r'recipe: {a: {choice: ["\ud800", b]}}',
        r"recipe.a.choice[0]: '\ud800': holds half a character, which cannot be written: give the character itself",
    ),
    "half a character in a section": (r'data: {path: "a\udfff"}', r"data.path: 'a\udfff': holds half a character"),
    "half a character in a name": (r'name: "\udcff"', r"name: '\udcff': holds half a character"),
    "half a character in a key": (r'recipe: {"\ud800": 1}', r"recipe: '\ud800': holds half a character"),
    "half a character as a section": (r'"\ud800": 1', r"experiment file: '\ud800': holds half a character"),
    "recipe with a number as key": ("recipe: {1: 2}", "recipe: {1: 2}: must be a mapping with names as keys"),
}
