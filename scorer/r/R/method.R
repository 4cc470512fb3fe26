# What each model class needs: S3 generics, and one file per class (method_*.R) with the same methods. The class whose
# model_predict answered at packaging is written in the manifest and looked up by that name at load, so a later release
# that learns a class does not change what an already published model answers.

#' The answer: a vector, factor, matrix, data.frame or named list of vectors, one value per row of `newdata`, in order.
#' @noRd
model_predict <- function(model, newdata, options) {
  UseMethod("model_predict")
}

#' The options fixed at packaging; refuses those that the class does not know.
#' @noRd
model_options <- function(model, options) {
  UseMethod("model_options")
}

#' Names of the columns it uses, or NULL where it does not tell.
#' @noRd
model_inputs <- function(model) {
  UseMethod("model_inputs")
}

#' Levels of factor columns as the model knows them, a named list; `sample` are columns as they were given.
#' @noRd
model_levels <- function(model, sample) {
  UseMethod("model_levels")
}

#' Names of the packages whose code predicts.
#' @noRd
model_packages <- function(model) {
  UseMethod("model_packages")
}

#' The model without what predicting does not need.
#' @noRd
model_slim <- function(model) {
  UseMethod("model_slim")
}

#' NULL, or why equal scores are decided at random: such a model is never batchable, whatever the proof sees.
#' @noRd
model_tie_breaker <- function(model) {
  UseMethod("model_tie_breaker")
}

#' The class whose methods serve a model: the first of its classes that has model_predict, or "default".
#' @noRd
model_method <- function(model) {
  for (class in class(model)) {
    if (exists(paste0("model_predict.", class), envir = topenv(), mode = "function", inherits = FALSE)) {
      return(class)
    }
  }
  "default"
}

#' The model_predict method of a class, by the name in a manifest.
#' @noRd
predict_method <- function(method) {
  found <- get0(paste0("model_predict.", method), envir = topenv(), mode = "function", inherits = FALSE)
  if (is.null(found)) {
    abort("this scoregate does not know the predict method ", dQuote(method, FALSE), ": install the release of ",
      "scoregate that packaged the model"
    )
  }
  found
}

#' Class and probabilities as one answer. `probabilities` is a matrix with one column per level.
#' @noRd
class_and_probabilities <- function(probabilities, levels, class = NULL) {
  if (is.null(class)) class <- first_maximum(probabilities, levels)
  columns <- lapply(seq_along(levels), function(j) probabilities[, j])
  c(list(class = class), stats::setNames(columns, paste0("prob.", levels)))
}

#' The level with the highest score in each row, the first of equals; missing where a score is.
#' @noRd
first_maximum <- function(scores, levels) {
  factor(levels[max.col(scores, "first")], levels = levels)
}

#' For classes without options.
#' @noRd
refuse_options <- function(options, answer) {
  if (length(options) > 0L) {
    abort(answer, " and takes no option ", quoted(names(options)), ": leave it out, or give ",
      "package_model(predict = function(model, newdata) ...)"
    )
  }
  list()
}
