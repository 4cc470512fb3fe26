# ksvm (kernlab): a regression's value; a classification's class and, where it was fitted with prob.model = TRUE, the
# probabilities. Rows with missing values are left out.

model_predict.ksvm <- function(model, newdata, options) {
  if (is.null(model@terms)) newdata <- as.matrix(newdata[model_inputs(model)])
  answer <- kernlab::predict(model, newdata, type = "response")
  if (!ksvm_has_probabilities(model)) {
    return(if (is.factor(answer)) answer else as.vector(answer))
  }
  levels <- as.character(model@lev)
  probabilities <- matrix(kernlab::predict(model, newdata, type = "probabilities"), ncol = length(levels))
  class_and_probabilities(probabilities, levels, class = factor(as.character(answer), levels = levels))
}

ksvm_has_probabilities <- function(model) {
  model@type %in% c("C-svc", "nu-svc", "C-bsvc") && length(model@prob.model) > 0L && !is.null(model@prob.model[[1L]])
}

model_inputs.ksvm <- function(model) {
  if (!is.null(model@terms)) {
    return(terms_inputs(model@terms))
  }
  colnames(if (is.list(model@xmatrix)) model@xmatrix[[1L]] else model@xmatrix)
}

model_levels.ksvm <- function(model, sample) {
  refuse_text(text_inputs(model, sample), "ksvm")
  list()
}

model_options.ksvm <- function(model, options) {
  refuse_options(options, "a ksvm answers its value, or its class and the probabilities it was fitted with")
}

model_packages.ksvm <- function(model) {
  "kernlab"
}
