# What each model class needs, one file per class (method_*.R) with the same methods, each a function named
# GENERIC.CLASS. The class that answered at packaging is written in the manifest and looked up by name at load, so a
# later release that learns a class does not change what an already published model answers.
#
#   model_predict(model, newdata, options)   the answer: a vector, factor, matrix, data.frame or named list of vectors
#   model_options(model, options)            the options fixed at packaging; refuses those the class does not know
#   model_inputs(model)                      names of the columns it uses, or NULL where it does not tell
#   model_levels(model)                      levels of factor columns as the model knows them, a named list
#   model_packages(model)                    packages whose code predicts
#   model_slim(model)                        the model without what predicting does not need
#   model_tie_breaker(model)                 NULL, or why a class is drawn at random on ties (never batchable)

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

#' The function GENERIC.CLASS of this package, or GENERIC.default.
#' @noRd
class_method <- function(generic, method) {
  here <- environment(class_method)
  name <- paste0(generic, ".", method)
  if (exists(name, envir = here, mode = "function", inherits = FALSE)) {
    return(get(name, envir = here, mode = "function"))
  }
  if (generic == "model_predict" && method != "default") {
    abort("this scoregate does not know the predict method ", dQuote(method, FALSE), ": install the release of ",
      "scoregate that packaged the model"
    )
  }
  get(paste0(generic, ".default"), envir = here, mode = "function")
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
