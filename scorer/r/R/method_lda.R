# lda and qda (MASS): the posterior of all classes and its first maximum (predict() draws at random among posteriors
# within 1e-5 of each other, and returns a list).

model_predict.lda <- function(model, newdata, options) {
  discriminant_answer(model, newdata)
}

model_predict.qda <- function(model, newdata, options) {
  discriminant_answer(model, newdata)
}

discriminant_answer <- function(model, newdata) {
  if (is.null(model$terms)) newdata <- as.matrix(newdata[colnames(model$means)])
  posterior <- stats::predict(model, newdata)$posterior
  classes <- names(model$prior)
  answer <- class_and_probabilities(unname(posterior), classes)
  answer$class <- factor(as.character(answer$class), levels = model$lev)
  answer
}

model_inputs.lda <- function(model) {
  discriminant_inputs(model)
}

model_inputs.qda <- function(model) {
  discriminant_inputs(model)
}

discriminant_inputs <- function(model) {
  if (is.null(model$terms)) colnames(model$means) else terms_inputs(model$terms)
}

model_options.lda <- function(model, options) {
  refuse_options(options, "an lda answers its class and posterior")
}

model_options.qda <- function(model, options) {
  refuse_options(options, "a qda answers its class and posterior")
}

model_packages.lda <- function(model) {
  "MASS"
}

model_packages.qda <- function(model) {
  "MASS"
}

model_slim.lda <- function(model) {
  drop_parts(model, character())
}

model_slim.qda <- function(model) {
  drop_parts(model, character())
}
