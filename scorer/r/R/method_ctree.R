# ctree (partykit): a regression's value; a classification's class and probabilities. A row whose split has a missing
# value goes down a branch at random, unless the tree was grown with majority = TRUE.

model_predict.constparty <- function(model, newdata, options) {
  answer <- stats::predict(model, newdata, type = "response")
  if (!is.factor(answer)) {
    return(as.vector(answer))
  }
  probabilities <- matrix(stats::predict(model, newdata, type = "prob"), ncol = nlevels(answer))
  class_and_probabilities(probabilities, levels(answer), class = unname(answer))
}

model_inputs.constparty <- function(model) {
  terms_inputs(model$terms)
}

model_levels.constparty <- function(model, sample) {
  lapply(Filter(is.factor, as.list(model$data)), levels)
}

model_options.constparty <- function(model, options) {
  refuse_options(options, "a ctree answers its value, or its class and probabilities")
}

model_packages.constparty <- function(model) {
  "partykit"
}

model_tie_breaker.constparty <- function(model) {
  inner <- setdiff(partykit::nodeids(model), partykit::nodeids(model, terminal = TRUE))
  at_random <- vapply(partykit::nodeapply(model, inner, function(node) {
    odds <- partykit::prob_split(partykit::split_node(node))
    any(odds > 0 & odds < 1)
  }), isTRUE, NA)
  if (any(at_random)) {
    "a row with a missing value goes down a branch at random (not so for a tree grown with majority = TRUE)"
  }
}
