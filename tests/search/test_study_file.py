import time

import pytest
import yaml

from search.errors import StudyFileError, UsageError
from search.study import Resources, Study
from search.study_file import load, packaged
from spaces import Axis, Expression, LogUniform
from trainables import recipe_library
from trainables.loss_settings import TemperedLoss
from trainables.values import flatten, with_values


def mistakes(source, overrides=()):
    with pytest.raises(StudyFileError) as error:
        load(source, overrides)
    assert error.value.exit_code == 4
    return {m.where.removeprefix("mine.yaml: "): str(m) for m in error.value.mistakes}


@pytest.mark.parametrize("name", packaged())
def test_packaged_study_is_valid_and_survives_writing(name):
    study = load(name).study
    assert Study.model_validate(yaml.safe_load(study.to_yaml())) == study


def test_digits_beta_is_the_study_of_the_readme():
    study = load("digits-beta").study
    assert (study.search.trials, study.recipe.epochs, study.rungs) == (48, 27, (1, 3, 9))
    assert study.space["loss.beta"].dimension == LogUniform(0.01, 10)
    assert study.space["optimizer.lr"].times == Expression.parse("loss.beta ** -1")
    assert study.arms["baseline"].set == {"loss.beta": 1.0}
    assert study.reference == "baseline"
    assert (study.confirm.top, study.seeds.confirm) == (2, 5)


def test_reference_arm_sends_one_trial_to_be_confirmed_and_every_other_arm_the_top():
    study = load("digits-beta").study
    assert {arm: study.confirmed_trials(arm) for arm in study.arms} == {"search": 2, "baseline": 1}


@pytest.mark.parametrize(
    ("cpus", "gpus", "threads", "device", "decoders"),
    [(0.5, 0, 1, "cpu", 1), (3.9, 0, 3, "cpu", 1), (1, 0.25, 1, "cuda", 1), (8, 1, 8, "cuda", 7)],
)
def test_trial_uses_its_whole_cores_and_its_share_of_a_gpu(cpus, gpus, threads, device, decoders):
    resources = Resources(cpus=cpus, gpus=gpus)
    assert (resources.threads, resources.device, resources.decoders) == (threads, device, decoders)


def test_study_with_a_name_only_gets_the_papers_space_and_baseline(write):
    study = load(write("name: a")).study
    assert study.space["loss.beta"] == Axis(LogUniform(0.01, 10))
    assert study.arms["baseline"].set == {"loss.beta": 1.0}


def test_space_and_baseline_follow_the_loss(write):
    study = load(write("name: a\nrecipe: {loss: {name: tampered}}")).study
    assert list(study.space) == ["loss.alpha", "optimizer.lr"]
    assert study.arms["baseline"].set == {"loss.alpha": 1.0}


def test_baseline_null_means_no_reference(write):
    study = load(write("name: a\nbaseline: null")).study
    assert list(study.arms) == ["search"]
    assert study.reference is None


def test_all_mistakes_are_reported_together_with_rule_value_place_and_remedy(write):
    found = mistakes(
        write(
            """
name: ../evil
recipe:
  dataset: cifarr
  model: mpl-128
  loss: {name: tempered, betta: 1.0, label_smoothing: 2}
  optimizer: {lr: fast}
space:
  loss.beta: {log: [-0.01, 10]}
  optimizer.lr: {uniform: [-1, 1], times: "loss.gamma ** -1"}
  optimizer.lrr: {log: [0.1, 1]}
search: {trials: 0, sampler: magic, metric: val/loss, mode: max}
stopping: {reduction_factor: 1}
resources: {gpus: 2000, strategy: ddp}
basline: {}
baseline: {loss.beta: -1}
"""
        )
    )
    expected = {
        "name": "'../evil'",
        "recipe.dataset": "got 'cifarr'",
        "recipe.model": "got 'mpl-128'",
        "recipe.loss.betta": "unknown key betta. Did you mean beta?",
        "recipe.loss.label_smoothing": "must be less than 1, got 2",
        "recipe.optimizer.lr": "got 'fast'",
        "space.loss.beta": "low > 0, got [-0.01, 10]",
        "space.optimizer.lr": "must be greater than 0, got -1.0",
        "space.optimizer.lr.times": "must name a value of the recipe, got loss.gamma",
        "space.optimizer.lrr": "Did you mean optimizer.lr?",
        "search.trials": "must be greater than or equal to 1, got 0",
        "search.sampler.name": "must be one of 'tpe', 'gp', 'cmaes', 'qmc', 'random', 'grid', got 'magic'",
        "stopping.reduction_factor": "got 1. One of so many goes on",
        "resources.gpus": "a trial needs 2000 GPUs, this machine has",
        "basline": "Did you mean baseline?",
        "baseline.loss.beta": "must be greater than 0, got -1",
    }
    assert found.keys() == expected.keys()
    for where, text in expected.items():
        assert text in found[where]


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("name: a\nsearch: {metric: val/loss, mode: max}", "search", "mode must be min for val/loss, got max"),
        ("name: a\nreference: b\narms: {a: {}}", "", "reference must be one of the arms (a), got b"),
        ("name: a\narms: {a: {set: {loss.bta: 1}}}", "arms.a.set.loss.bta", "Did you mean beta?"),
        ("name: a\narms: {a: {}}\nbaseline: {loss.beta: 1}", "baseline", "either baseline or arms"),
        ("name: a\nspace: {loss.beta: {log: [0.1, 1], uniform: [0, 1]}}", "space.loss.beta", "exactly one kind"),
        ("name: a\nspace: {loss.beta: 3}", "space.loss.beta", "exactly one kind"),
        ("recipe: {}", "name", "is required, and missing"),
        ("name: a\nrecipe: {epochs: 3, schedule: {warmup_epochs: 5}}", "recipe", "must fit into the run, got 5 of 3"),
        ("name: a\nrecipe: 3", "recipe", "got 3"),
        ("name: a\nrecipe: {loss: {name: hinge}}", "recipe.loss.name", "must be one of 'tempered', 'tampered'"),
        ("name: a\nseeds: {confirm: 1}", "seeds.confirm", "must be greater than or equal to 2, got 1"),
        ("name: a\nresources: {cpus: 100000}", "resources.cpus", "a trial needs 100000 CPUs, this machine has"),
        ("name: a\nspace: {batch_size: {log: [16, 256]}}", "space.batch_size", "must be a valid integer"),
        ("name: a\nspace: {loss.beta: {log: [1e-3, 1]}}", "space.loss.beta", "write 1.0e-3"),
        ("name: a\nspace: {3: {log: [0.1, 1]}}", "space.3", "must be a valid string, got 3"),
        (
            "name: a\nspace: {optimizer.lr: {log: [0.1, 1], times: loss.beta ** -400}, loss.beta: {log: [0.01, 1]}}",
            "space",
            "every point must give a recipe, but arm search at optimizer.lr = 0.1, loss.beta = 0.01 does not",
        ),
        (
            "name: a\nspace: {optimizer.lr: {log: [0.1, 1], times: model}}",
            "space",
            "times of optimizer.lr must be > 0, got 'model' = mlp-128-128",
        ),
        (
            "name: a\n"
            "space: {schedule.warmup_epochs: {uniform: [0, 20]}, schedule.cooldown_epochs: {uniform: [1, 20]}}",
            "space",
            "must fit into the run, got 40 of 27 epochs",
        ),
        ("name: a\nrecipe: {loss: {name: distilled}}", "recipe.loss.teacher", "is required, and missing"),
        (
            "name: a\nspace: {loss.beta: {log: [0.1, 1]}, optimizer.lr: {log: [0.1, 1], rule: base/betta}}",
            "space.optimizer.lr",
            "must be one of base, base/beta, base/beta^2 or like base * beta ** -1.5, got 'base/betta'",
        ),
        (
            "name: a\nspace: {optimizer.lr: {log: [0.1, 1], rule: base/beta}}\n"
            "arms: {a: {}, b: {set: {optimizer.name: adamw}}}",
            "arms.b.set.optimizer.name",
            "must be the study's where optimizer.lr follows loss.beta, got adamw",
        ),
        (
            "name: a\nstopping: {form: promotion, audit: 0.5}",
            "stopping.audit",
            "audit must be 0 with form promotion",
        ),
        ("name: a\nstopping: {brackets: 2}", "stopping.brackets", "of asha, which belongs to hyperband. Keys of asha"),
        ("name: a\nsearch: {sampler: {name: gp, refine: 1}}", "search.sampler.refine", "which belongs to grid"),
        ("name: a\nrecipe: {optimizer: {eps: 1}}", "recipe.optimizer.eps", "of sgd, which belongs to adamw"),
        ("name: a\nrecipe: {optimizer: {mum: 1}}", "recipe.optimizer.mum", "unknown key mum. Known keys: name, lr"),
        ("name: a\narms: {a: {planned: 3}}", "arms.a.planned", "is worked out by thermotune, got 3. Write trials"),
        ("name: a\narms: {a: {varies: loss.bta}}", "arms.a.varies", "got loss.bta. There: loss.beta, optimizer.lr"),
        ("name: a\nrequire: [beta > 0, beta]", "require.1", "must be a condition such as 'tau1 > tau2', got 'beta'"),
        ("name: a\nrequire: beta < 0.5", "require", "arm baseline (loss.beta = 1.0)"),
        ("name: a\nrequire: beta < 0.5", "require", "write baseline: {...} or baseline: null"),
        ("name: a\nrequire: log(beta - 0.01) < 1", "require", "arm search: 'log(loss.beta - 0.01) < 1' cannot be"),
        (
            "name: a\nspace: {loss.name: {choice: [tempered, tampered]}}",
            "space.loss.name",
            "write baseline: {...} or baseline: null",
        ),
        (
            "name: a\nspace: {loss.name: {choice: [tempered, x]}}",
            "space.loss.name",
            "of variants (tempered, tampered, ",
        ),
        ("name: a\nspace: {loss.name: {int: [1, 9]}}", "space.loss.name", "must be a choice of variants"),
        ("name: a\nspace: {loss.name: {equals: '\"tampered\"'}}", "space.loss.name", "must be a choice of variants"),
        ("name: a\nspace: {foo.name: {choice: [b]}}", "space.foo.name", "must be a value of the recipe"),
        (
            "name: a\nspace: {loss.beta: {log: [0.1, 1], when: {loss.name: tampered}}}",
            "space.loss.beta.when",
            "must be able to hold, got {loss.name: tampered}, which is so in no arm",
        ),
        ("name: a\nrecipe: {epochs: 1000001}", "recipe.epochs", "must be at most 1,000,000, got 1,000,001"),
        ("[1, 2]", "mine.yaml", "must hold keys and values, got list"),
        ("name: [", "mine.yaml, line 1", "not valid YAML"),
        ("name: a\nspace: {}\nspace: {}", "mine.yaml, line 3", "a key must stand once, got space in line 2 too"),
    ],
)
def test_mistake_is_reported_with_its_place(write, text, where, problem):
    found = mistakes(write(text))
    assert problem in found[where or "mine.yaml"]
    assert len(found) == 1


def test_flag_wins_over_file_and_file_over_default(write):
    loaded = load(
        write("name: a\nsearch: {trials: 7, seed: 3}"), ["search.trials=9", "recipe.loss.label_smoothing=0.1"]
    )
    assert loaded.study.search.trials == 9
    origins = loaded.origins
    assert (origins["search.trials"], origins["search.seed"], origins["search.sampler.name"]) == (
        "flag",
        "file",
        "default",
    )
    assert origins["recipe.loss.label_smoothing"] == "flag"
    assert origins["arms.baseline.set.loss.beta"] == "default"


def test_flag_can_set_a_dimension_and_a_baseline(write):
    study = load(write("name: a"), ["space.loss.beta={log: [0.1, 1]}", "baseline.loss.beta=0.5"]).study
    assert study.space["loss.beta"] == Axis(LogUniform(0.1, 1))
    assert study.arms["baseline"].set == {"loss.beta": 0.5}


@pytest.mark.parametrize("text", ["search.trials", "=3", "search.trials=[1"])
def test_flag_that_is_no_key_and_value_is_a_usage_error(text):
    with pytest.raises(UsageError, match="--set"):
        load("digits-beta", [text])


def test_copy_of_a_resolved_study_is_a_study_of_its_own(write):
    study = load("digits-beta").study
    assert load(write(study.to_yaml()), ["name=copy"]).study.id != study.id


def test_baseline_may_be_written_nested(write):
    assert load(write("name: a\nbaseline: {loss: {beta: 0.5}}")).study.arms["baseline"].set == {"loss.beta": 0.5}


def test_unknown_study_is_a_usage_error_with_the_nearest_name():
    with pytest.raises(UsageError, match="Did you mean digits-beta") as error:
        load("digits-bta")
    assert error.value.exit_code == 2


def test_recipe_of_an_arm_has_its_values_and_the_coordinates():
    study = load("digits-beta").study
    params, recipe = study.resolve("search", {"loss.beta": 0.1, "optimizer.lr": 0.05})
    assert params == {
        "loss.beta": 0.1,
        "optimizer.lr": pytest.approx(0.5),
        "optimizer.weight_decay": pytest.approx(5e-5),
    }
    assert (recipe.loss.beta, recipe.optimizer.lr) == (0.1, pytest.approx(0.5))
    _, recipe = study.resolve("baseline", {"optimizer.lr": 0.05})
    assert (recipe.loss.beta, recipe.optimizer.lr) == (1.0, 0.05)


def test_seeds_of_confirm_are_fresh():
    study = load("digits-beta", ["seeds.search=4", "search.seed=1000"]).study
    assert set(study.search_seeds).isdisjoint(study.confirm_seeds)
    assert len(set(study.confirm_seeds)) == 5


def test_values_are_set_by_path_without_touching_the_original():
    tree = {"a": {"b": 1}, "c": 2}
    assert with_values(tree, {"a.b": 3, "a.d.e": 4}) == {"a": {"b": 3, "d": {"e": 4}}, "c": 2}
    assert tree == {"a": {"b": 1}, "c": 2}
    assert flatten({"a": {"b": 3, "d": {"e": 4}}, "c": 2}) == {"a.b": 3, "a.d.e": 4, "c": 2}


PAPER = "tampering/resnet20-cifar10"
LIKE = f"name: a\nrecipe: {{like: {PAPER}, epochs: 30}}"


def test_recipe_like_a_packaged_one_has_its_values_except_those_written(write):
    recipe = load(write(LIKE)).study.recipe
    packaged_recipe = recipe_library.load(PAPER).recipe
    assert recipe == packaged_recipe.model_copy(update={"epochs": 30})


def test_origins_name_the_packaged_recipe(write):
    loaded = load(write(LIKE), ["recipe.batch_size=64"])
    origins = loaded.origins
    assert loaded.study.recipe.batch_size == 64
    assert (origins["recipe.batch_size"], origins["recipe.epochs"]) == ("flag", "file")
    assert origins["recipe.loss.alpha"] == origins["recipe.schedule.cooldown_epochs"] == PAPER
    assert origins["recipe.loss.label_smoothing"] == "default"


def test_space_and_baseline_follow_the_packaged_loss(write):
    study = load(write(LIKE)).study
    assert list(study.space) == ["loss.alpha", "optimizer.lr"]
    assert study.arms["baseline"].set == {"loss.alpha": 1.0}


def test_other_loss_than_the_packaged_one_starts_from_its_defaults(write):
    loaded = load(write(f"name: a\nrecipe: {{like: {PAPER}, loss: {{name: tempered}}}}"))
    assert loaded.study.recipe.loss == TemperedLoss()
    assert loaded.origins["recipe.loss.name"] == "file"


def test_like_can_be_a_flag(write):
    loaded = load(write("name: a"), [f"recipe.like={PAPER}"])
    assert loaded.study.recipe == recipe_library.load(PAPER).recipe
    assert loaded.origins["recipe.model"] == PAPER


def test_teacher_like_a_packaged_recipe_starts_from_that_and_not_from_the_studys(write):
    teacher = "asymmetric/teacher-resnet110-cifar100"
    loaded = load(
        write(
            "name: a\n"
            "recipe: {like: asymmetric/student-vgg8-cifar100, batch_size: 64, train_samples: 900, ema_decay: 0.9}\n"
            f"teachers: {{wrn-28-8: {{recipe: {{like: {teacher}, epochs: 12}}}}, own: {{recipe: {{model: resnet-8}}}}}}"
        )
    )
    found = loaded.study.teachers
    assert found["wrn-28-8"].recipe == recipe_library.load(teacher).recipe.model_copy(update={"epochs": 12})
    assert (found["own"].recipe.batch_size, found["own"].recipe.epochs) == (64, 240)
    assert loaded.origins["teachers.wrn-28-8.recipe.model"] == teacher
    assert loaded.origins["teachers.wrn-28-8.recipe.epochs"] == "file"
    assert loaded.study.needed_teachers == ("wrn-28-8",)


def test_unknown_packaged_recipe_is_reported_without_mistakes_that_only_follow_from_it(write):
    found = mistakes(
        write(
            "name: a\nrecipe: {like: tampering/resnet20-cifar}\nspace: {loss.alpha: {uniform: [0.1, 1]}}\n"
            "teachers: {big: {recipe: {like: [1], model: mlp-8}}}"
        )
    )
    assert found.keys() == {"recipe.like", "teachers.big.recipe.like"}
    assert f"must be a packaged recipe, got 'tampering/resnet20-cifar'. Did you mean {PAPER}?" in found["recipe.like"]


def test_packaged_recipe_that_does_not_fit_the_changes_is_a_mistake(write):
    found = mistakes(write(f"name: a\nrecipe: {{like: {PAPER}, epochs: 5}}"))
    assert "must fit into the run, got 15 of 5 epochs" in found["recipe"]


BOTH = "name: a\nbaseline: null\nspace: {loss.beta: {log: [0.1, 1]}, optimizer.lr: {log: [0.01, 1]}}\n"
VARIANTS = (
    "name: a\nbaseline: null\n"
    "space: {loss.name: {choice: [tempered, tampered]}, "
    "loss.alpha: {uniform: [0.1, 0.5], when: {loss.name: tampered}}}\n"
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{BOTH}search: {{points: [{{loss.beta: 9}}]}}", "must lie in the space of arm search, got loss.beta = 9"),
        (f"{BOTH}search: {{points: [{{loss.beta: fast}}]}}", "must lie in the space of arm search"),
        (f"{BOTH}search: {{points: [{{}}]}}", "must name a value to try, got {}"),
        (f"{BOTH}search: {{points: [{{loss.bta: 1}}]}}", "got loss.bta. Did you mean loss.beta?"),
        (
            f"{BOTH}require: optimizer.lr < loss.beta\nsearch: {{points: [{{loss.beta: 0.1, optimizer.lr: 0.9}}]}}",
            "must meet require, 'optimizer.lr < loss.beta', got loss.beta = 0.1, optimizer.lr = 0.9 (arm search)",
        ),
        (
            f"{BOTH}require: optimizer.lr > 2 * loss.beta\nsearch: {{points: [{{loss.beta: 0.9}}]}}",
            "must meet require, 'optimizer.lr > 2 * loss.beta', got loss.beta = 0.9 (arm search)",
        ),
        (
            f"{VARIANTS}search: {{points: [{{loss.alpha: 0.3}}]}}",
            "which counts where loss.name is tampered (arm search)",
        ),
        (f"{VARIANTS}search: {{points: [{{loss.alpha: 0.3}}]}}", "Give loss.name as well"),
        (f"{VARIANTS}search: {{points: [{{loss.name: tempered, loss.alpha: 0.3}}]}}", "Leave it out"),
        (
            "name: a\nbaseline: null\nsearch: {points: [{optimizer.lr: 0.1}]}",
            "got optimizer.lr, which is rescaled by loss.beta (arm search). Give loss.beta as well",
        ),
    ],
)
def test_point_that_cannot_be_tried_is_a_mistake_at_its_place(write, text, problem):
    found = mistakes(write(text))
    assert found.keys() == {"search.points.0"}
    assert problem in found["search.points.0"]


def test_point_with_values_of_some_arms_is_tried_in_these(write):
    study = load(
        write("name: a\nsearch: {points: [{loss.beta: 0.5, optimizer.lr: 0.2}]}\nrequire: optimizer.lr < 10")
    ).study
    assert study.points("search") == [{"loss.beta": 0.5, "optimizer.lr": 0.1}]
    assert study.points("baseline") == [{"optimizer.lr": 0.2}]


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("name: a\nstopping: {grace_epochs: 27}", "stopping.grace_epochs should be below the run's 27 epochs"),
        (
            f"{BOTH}search: {{trials: 1, points: [{{loss.beta: 0.2}}, {{loss.beta: 0.3}}]}}",
            "only the first 1 will be tried",
        ),
        ("name: a\narms: {a: {varies: [loss.beta]}}", "space.optimizer.lr varies in no arm"),
    ],
)
def test_what_is_hardly_wanted_is_remarked_upon(write, text, remark):
    assert any(remark in said for said in load(write(text)).remarks)


def test_grace_of_a_run_without_a_rule_is_nothing_to_remark(write):
    assert load(write("name: a\nstopping: none")).remarks == ()


def test_name_alone_stands_for_a_section(write):
    study = load(
        write(
            "name: a\nstopping: hyperband\nsearch: {sampler: gp}\n"
            "recipe: {loss: distilled, optimizer: adamw, schedule: step}\n"
            "teachers: {t: {recipe: {optimizer: sgd}}}\narms: {a: {set: {loss.teacher: t, schedule: cosine}}}\n"
            "space: {optimizer.lr: {log: [0.001, 0.01]}}"
        ),
        ["recipe.loss.teacher=t"],
    ).study
    assert (study.stopping.name, study.search.sampler.name) == ("hyperband", "gp")
    recipe = study.recipe
    assert (recipe.loss.name, recipe.optimizer.name, recipe.schedule.name) == ("distilled", "adamw", "step")
    assert study.teachers["t"].recipe.optimizer.name == "sgd"
    assert study.arms["a"].set["schedule.name"] == "cosine"


def test_flag_keeps_the_variant_that_the_file_names_by_a_word(write):
    study = load(write("name: a\nsearch: {sampler: gp}"), ["search.sampler.startup_trials=3", "stopping=none"]).study
    assert (study.search.sampler.name, study.search.sampler.startup_trials) == ("gp", 3)
    assert study.stopping.name == "none"


def test_word_is_a_list_of_one_in_varies(write):
    study = load(write("name: a\narms: {a: {varies: loss.beta}}")).study
    assert study.arms["a"].varies == ("loss.beta",)


def test_trials_stay_as_they_were_written_beside_what_is_planned(write):
    study = load(write("name: a\nsearch: {trials: 9}\narms: {a: {trials: 5}, b: {}}")).study
    assert [(arm.trials, arm.planned) for arm in study.arms.values()] == [(5, 5), (None, 9)]
    copy = load(write(study.to_yaml()), ["name=copy", "search.trials=12"]).study
    assert [(arm.trials, arm.planned) for arm in copy.arms.values()] == [(5, 5), (None, 12)]


def test_a_requirement_may_be_as_long_as_its_author_wrote_it(write):
    text = " and ".join(["beta > 0"] * 15)
    assert len(text) < 200 < len(text.replace("beta", "loss.beta"))
    study = load(write(f"name: a\nrequire: {text}")).study
    assert study.require[0].text == text
    assert Study.model_validate(yaml.safe_load(study.to_yaml())) == study


HEAD = "name: a\nrecipe: {dataset: digits, model: mlp-16, epochs: 9}\n"
BETA = HEAD + "space: {loss.beta: {log: [0.1, 1]}}\n"
HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    "text",
    [
        HEAD + f"space: {{batch_size: {{int: [1, {HUGE}]}}}}",
        HEAD + f"space: {{loss.beta: {{log: [1, {HUGE}.0]}}}}",
        HEAD + f"space: {{loss.beta: {{uniform: [0.1, 1], step: {HUGE}}}}}",
        HEAD + "space: {loss.beta: {uniform: [-1.0e+308, 1.0e+308]}}",
        HEAD + "space: {loss.beta: {log: [1.0e-300, 1.0e+300]}}",
        HEAD + "space: {loss.name: {int: [1, 1000000000000]}}",
        HEAD + f"space: {{loss.name: {{choice: [{', '.join(f'w{i}' for i in range(5000))}]}}}}",
        HEAD + "space: {loss.name: {log: [1, 2]}}",
        HEAD + "space:\n  loss.beta: {choice: [1, 2], when: &w {a: *w}}",
        HEAD + "arms: {a: {set: &w {a: *w}}}",
        HEAD + "search: {points: [&w {a: *w}]}",
        "name: a\nspace: &a\n  loss.beta: *a",
        "name: a\na: " + "[" * 2000 + "]" * 2000,
        "name: a\na: " + "{a: " * 500 + "1" + "}" * 500,
        HEAD + "space: {null: {log: [1, 2]}}\narms: {null: {}}",
        HEAD + "space: {true: {log: [0.1, 1]}}",
        HEAD + "2020-01-01: 3",
        HEAD + "recipe2: 2020-13-45",
        HEAD + "space: {loss.beta: {choice: [2020-01-01, 2]}}",
        HEAD
        + "space: {"
        + ", ".join(f"a{i}: {{int: [1, 1000]}}, b{i}: {{grid: [1, 2], when: {{a{i}: 3}}}}" for i in range(6))
        + "}\nsearch: {sampler: grid}",
        HEAD
        + "space: {"
        + ", ".join(f"a{i}: {{grid: [1, 2], when: {{a{i + 1}: 1, a{i + 2}: 1}}}}" for i in range(60))
        + "}",
        BETA + "require: 'log(beta - 0.1) < 1'",
        BETA + "require: 'beta ** 9 ** 9 ** 9 ** 9 < 1'",
        BETA + f"require: 'not {'-' * 190}beta'",
        BETA + f"require: '{'(' * 95}beta{')' * 95} < 0'",
        BETA + 'require: \'"a" "b" < beta\'',
        BETA + 'require: "beta\\0 < 1"',
        BETA + "search: {points: {loss.beta: 0.3}}",
        BETA + "search: {trials: 99999999999999999999}",
        BETA + "stopping: {name: median}\nrecipe2: 3",
        "name: a\nrecipe: {epochs: 100000000000000}\nstopping: median",
        BETA + "seeds: {confirm: 100000000000}",
        "name: a\nrecipe: {loss: {name: [a]}}",
        "name: a\nrecipe: {loss: {name: {a: b}}}",
        "name: a\nrecipe: {1: 2}",
        "name: a\nrecipe: 3\narms: {a: {set: {loss.gap: 1}}}",
        "name: a\nrecipe: {loss: distilled}\narms: {a: {set: {loss.teacher: big}}}\nspace: {}\nteachers: {}",
        "name: a\nrecipe: !!set {a, b}",
        "\0\1",
        "",
    ],
)
def test_hostile_file_gives_mistakes_at_once_and_nothing_else(write, text):
    began = time.process_time()
    with pytest.raises(StudyFileError) as error:
        load(write(text))
    assert time.process_time() - began < 3
    assert all(len(str(mistake)) < 2000 for mistake in error.value.mistakes)


@pytest.mark.parametrize("text", ["a=&x [*x]", "a=" + "[" * 2000, f"search.trials={HUGE}", "space={a: 1, a: 2}"])
def test_hostile_flag_is_a_usage_error(text):
    with pytest.raises(UsageError, match="--set"):
        load("digits-beta", [text])


@pytest.mark.parametrize(
    ("text", "where", "got"),
    [
        ("recipe: {batch_size: 66}", "recipe", 66),
        ("space: {loss.beta: {log: [0.1, 10]}, batch_size: {choice: [64, 90]}}", "space.batch_size", 90),
    ],
)
def test_batches_that_the_processes_of_a_trial_cannot_share_evenly_are_refused(write, text, where, got):
    found = mistakes(write(f"name: a\n{text}\nresources: {{cpus: 4, strategy: ddp}}"))
    assert f"batch_size, of which 4 processes get a share each, must be a multiple of 4, got {got}" in found[where]
