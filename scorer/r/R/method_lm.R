# lm: predict(), or with interval = "prediction" | "confidence" the columns fit, lwr, upr.

model_predict.lm <- function(model, newdata, options) {
  if (is.null(options$interval)) {
    return(stats::predict(model, newdata))
  }
  stats::predict(model, newdata, interval = options$interval, level = options$level)
}

model_options.lm <- function(model, options) {
  unknown <- setdiff(names(options), c("interval", "level"))
  if (length(unknown) > 0L) {
    abort("an lm takes no option ", quoted(unknown), ": it takes interval (\"prediction\" or \"confidence\") and level")
  }
  if (is.null(options$interval)) {
    return(list())
  }
  level <- if (is.null(options$level)) 0.95 else options$level
  if (!is_text(options$interval) || !options$interval %in% c("prediction", "confidence")) {
    abort("interval must be \"prediction\" (of one new case) or \"confidence\" (of the mean)")
  }
  if (!is.numeric(level) || length(level) != 1L || is.na(level) || level <= 0 || level >= 1) {
    abort("level must be a number between 0 and 1, as in 0.95")
  }
  list(interval = options$interval, level = as.double(level))
}

model_inputs.lm <- function(model) {
  unique(c(terms_inputs(stats::terms(model)), all.vars(model$call$offset)))
}

#' Of the residuals an interval needs only the sum of squares.
#' @noRd
model_slim.lm <- function(model) {
  squares <- if (is.null(model$weights)) model$residuals^2 else model$residuals^2 * model$weights
  slim <- drop_parts(model, c("model", "fitted.values", "effects", "x", "y", "na.action"))
  slim$residuals <- residuals_of_sum(sum(squares))
  if (!is.null(model$weights)) slim$weights <- c(1, 1)
  slim$qr <- slim_qr(slim$qr)
  slim
}

#' Two residuals whose squares sum to this number, to its last bit: the second makes up for the first one's rounding.
#' @noRd
residuals_of_sum <- function(sum_of_squares) {
  first <- sqrt(sum_of_squares)
  if (first^2 > sum_of_squares) first <- first * (1 - .Machine$double.eps)
  c(first, sqrt(sum_of_squares - first^2))
}

#' Of the decomposition only R is used: its first rows, one per column.
#' @noRd
slim_qr <- function(qr) {
  qr$qr <- qr$qr[seq_len(min(dim(qr$qr))), , drop = FALSE]
  qr
}
