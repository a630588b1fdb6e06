"""FineTune: FedAvg, after which each client trains the model that it received a little further.

Only what is judged or taken home is fine-tuned: all trained weights, for some epochs with the
config's learning rate, without schedule, and a new optimizer. Nothing of it travels. BatchNorm's
statistics of the shared model take the mean, integers the largest value; fine-tuning moves a
client's copies of them.
"""

from strategies.method import Key, Method

METHOD = Method(
    title="FineTune",
    paper="Wang et al., Federated Evaluation of On-device Personalization, 2019",
    equation="section 3",
    keys={"finetune-epochs": Key(1, ge=0)},
    tuning_epochs=lambda settings: int(settings["finetune-epochs"]),
)
