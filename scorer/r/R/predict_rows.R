# The one way in which a packaged model is asked for answers: by a worker, by the proof at packaging, and by a user.

# Any fixed number: it makes answers that use random numbers repeatable, not batchable (the proof looks for those).
default_seed <- 20221101L

#' Score rows with a loaded model package
#'
#' The random seed is set before the call and warnings are muffled. Rows with a missing value in a column where the
#' model silently leaves such rows out (`missing: drop`) are scored apart: their answer is missing.
#'
#' @param model A `scoregate_model` from [load_model_package()].
#' @param newdata A data.frame with the signature's inputs as columns: numeric, integer, logical, character, factor with
#'   the signature's levels, Date, POSIXct. Other columns are left out; 0 rows are allowed.
#' @return A named list with one vector per output, in the signature's order, each with one value per row, in the order
#'   of the rows. The vectors are plain: factors as integer codes (1-based), dates as days, datetimes as seconds.
#'   Errors of class `scoregate_wrong_length` or `scoregate_bad_output` tell an answer that is not the signature's.
#' @examples
#' \dontrun{
#' model <- load_model_package("boston-housing")
#' predict_rows(model, MASS::Boston[1:10, ])$prediction
#' }
#' @export
predict_rows <- function(model, newdata) {
  if (!is.null(model$fun)) {
    abort(model$name, " is a function and takes inputs, not rows: use call_function(model, inputs)")
  }
  answer_rows(model, input_rows(model, newdata), default_seed)
}

#' The signature's columns of `newdata`, in order.
#' @noRd
input_rows <- function(model, newdata) {
  inputs <- vapply(model$signature$inputs, `[[`, "", "name")
  if (!is.data.frame(newdata)) {
    abort("newdata must be a data.frame with the columns ", quoted(inputs), "; it is ", describe_value(newdata))
  }
  if (identical(names(newdata), inputs)) {
    return(newdata)
  }
  absent <- setdiff(inputs, names(newdata))
  if (length(absent) > 0L) {
    abort("newdata has no column ", quoted(absent), ": the model takes ", quoted(inputs), ", and newdata has ",
      if (ncol(newdata) > 0L) quoted(names(newdata)) else "none")
  }
  columns <- stats::setNames(lapply(inputs, function(name) newdata[[name]]), inputs)
  structure(columns, class = "data.frame", row.names = .set_row_names(nrow(newdata)))
}

answer_rows <- function(model, newdata, seed) {
  rows <- nrow(newdata)
  outputs <- model$signature$outputs
  if (rows == 0L) {
    return(empty_answer(outputs, 0L))
  }
  apart <- rows_left_out(model, newdata)
  if (!any(apart)) {
    return(call_model(model, newdata, seed))
  }
  answer <- empty_answer(outputs, rows)
  if (!all(apart)) {
    kept <- take_rows(newdata, which(!apart))
    answer <- Map(function(all, some) {
      all[!apart] <- some
      all
    }, answer, call_model(model, kept, seed))
  }
  answer
}

call_model <- function(model, newdata, seed) {
  answer <- raw_answer(model, newdata, seed)
  reduce_columns(answer_columns(answer)$columns, model$signature$outputs, nrow(newdata))
}

raw_answer <- function(model, newdata, seed) {
  set.seed(seed)
  suppressMessages(withCallingHandlers(
    model$predictor(newdata),
    warning = function(w) tryInvokeRestart("muffleWarning")
  ))
}

empty_answer <- function(outputs, rows) {
  stats::setNames(lapply(outputs, function(field) missing_values(field$type, rows)), vapply(outputs, `[[`, "", "name"))
}

rows_left_out <- function(model, newdata) {
  apart <- logical(nrow(newdata))
  columns <- unclass(newdata)[model$drop]
  if (anyNA(columns, recursive = TRUE)) {
    for (column in columns) apart <- apart | is.na(column)
  }
  apart
}
