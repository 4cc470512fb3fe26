# gbm: the response with a number of trees that is fixed at packaging (predict() would guess it, and print). A
# multinomial's probabilities and their first maximum. Missing values go their own way down the trees. Text, which only
# a modeller's sample has, is read by the levels of the fit; predict() would read it as missing, silently.

model_predict.gbm <- function(model, newdata, options) {
  for (name in names(levels <- model_levels.gbm(model))) {
    if (is.character(newdata[[name]])) newdata[[name]] <- factor(newdata[[name]], levels[[name]])
  }
  answer <- stats::predict(model, newdata, n.trees = options$n.trees, type = "response")
  if (identical(model$distribution$name, "multinomial")) {
    return(class_and_probabilities(matrix(answer, ncol = model$num.classes), model$classes))
  }
  as.vector(answer)
}

#' Without n.trees what predict() would guess: the best by the test or cross-validation error, else all.
#' @noRd
model_options.gbm <- function(model, options) {
  refuse_options(options[setdiff(names(options), "n.trees")], "a gbm answers its response with n.trees trees")
  trees <- options$n.trees
  if (is.null(trees)) {
    trees <- if (model$train.fraction < 1) {
      which.min(model$valid.error)
    } else if (!is.null(model$cv.error)) {
      which.min(model$cv.error)
    } else {
      model$n.trees
    }
  }
  if (!is.numeric(trees) || length(trees) != 1L || trees != trunc(trees) || trees < 1 || trees > model$n.trees) {
    abort("n.trees must be a whole number from 1 to the ", model$n.trees, " trees of the model")
  }
  list(n.trees = as.integer(trees))
}

model_inputs.gbm <- function(model) {
  if (is.null(model$Terms)) model$var.names else all.vars(stats::reformulate(model$var.names))
}

#' For numbers var.levels holds quantiles.
#' @noRd
model_levels.gbm <- function(model, sample) {
  Filter(is.character, stats::setNames(model$var.levels, model$var.names))
}

model_packages.gbm <- function(model) {
  "gbm"
}

model_slim.gbm <- function(model) {
  slim <- drop_parts(model, c("fit", "data", "estimator", "cv.fitted", "oobag.improve"))
  if (!is.null(slim$Terms)) slim$Terms <- without_frame(slim$Terms)
  slim
}
