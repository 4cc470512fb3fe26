# coxph (survival): the risk relative to the sample's means, or with options = list(times = ) the survival at those
# times, for which the fit must carry its data (model = TRUE): the baseline hazard is made anew from them on each call.

model_predict.coxph <- function(model, newdata, options) {
  if (is.null(options$times)) {
    return(as.vector(stats::predict(model, newdata, type = "risk")))
  }
  rows <- seq_len(nrow(newdata))
  blocks <- split(rows, (rows - 1L) %/% max(64L, curve_points %/% model$n))
  survival <- lapply(blocks, function(block) {
    curves <- survival::survfit(model, newdata = newdata[block, , drop = FALSE], se.fit = FALSE)
    if (!is.null(curves$strata) && (is.matrix(curves$surv) || length(curves$strata) > length(block))) {
      abort("survfit() finds the strata of a row only by columns as they are: make what strata() computes, as in ",
        "strata(age > 60), a column and fit the model on that")
    }
    survival_at(curves, options$times)
  })
  survival_columns(do.call(rbind, survival), options$times)
}

# survfit() gives each row a whole curve, with a point for each time of the data: so many points at once, some 80 bytes
# each, bound what a large call takes.
curve_points <- 2e6

#' The survival of each row at the times: what summary(curves, times, extend = TRUE) gives, which for strata looks
#' through the curves of all rows to find that of one, and took a minute for a thousand rows.
#' @noRd
survival_at <- function(curves, times) {
  if (is.null(curves$strata)) {
    points <- rbind(1, as.matrix(curves$surv))
    return(t(points[1L + findInterval(times, curves$time), , drop = FALSE]))
  }
  before <- cumsum(curves$strata) - curves$strata
  t(matrix(unlist(Map(function(before, length) {
    curve <- before + seq_len(length)
    c(1, curves$surv[curve])[1L + findInterval(times, curves$time[curve])]
  }, before, curves$strata)), nrow = length(times)))
}

model_options.coxph <- function(model, options) {
  options <- survival_times(options, "a coxph answers its risk")
  strata <- !is.null(attr(model$terms, "specials")$strata)
  if (is.null(model$model) && (strata || !is.null(options$times))) {
    abort("for ", if (strata) "strata" else "survival at times", " predict() needs the data of the fit, which a fresh ",
      "R process does not have: fit it with coxph(..., model = TRUE)")
  }
  options
}

model_inputs.coxph <- function(model) {
  terms <- stats::delete.response(model$terms)
  clusters <- all.vars(attr(terms, "variables")[attr(terms, "specials")$cluster + 1L])
  setdiff(terms_inputs(terms), clusters)
}

model_packages.coxph <- function(model) {
  "survival"
}

#' The data, where the fit carries them, are what survival is made from.
#' @noRd
model_slim.coxph <- function(model) {
  if (!is.null(model$model)) {
    return(model)
  }
  drop_parts(model, c("linear.predictors", "residuals", "y", "x", "weights", "na.action"))
}
