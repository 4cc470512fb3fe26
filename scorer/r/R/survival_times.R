# The times at which a survival model is asked, fixed at packaging: options = list(times = c(30, 90)), or as text where
# only text can be given, times=30,90.

#' The options of a survival model: none, or `times` as numbers in order.
#' @noRd
survival_times <- function(options, answer) {
  refuse_options(options[setdiff(names(options), "times")], paste0(answer, ", or with times the survival at those;"))
  times <- options$times
  if (is.null(times)) {
    return(list())
  }
  if (is_text(times)) times <- parse_doubles(trimws(strsplit(times, ",", fixed = TRUE)[[1L]]))
  if (!is.numeric(times) || length(times) == 0L || any(!is.finite(times)) || any(times < 0)) {
    abort("times must be numbers of at least 0, as in c(30, 90, 365), in the unit the model was fitted with")
  }
  list(times = sort(unique(as.double(times))))
}

#' A column per time from a matrix of one row per row of the data.
#' @noRd
survival_columns <- function(survival, times) {
  columns <- lapply(seq_along(times), function(j) as.vector(survival[, j]))
  stats::setNames(columns, paste0("surv.", vapply(times, format, "", digits = 15L)))
}
