# gam and bam (mgcv): the response, not the link, as a plain vector (predict() gives a 1-d array). bam without its
# discretised way to predict, which looks at the other rows above 1,000 of them, and on one thread.

model_predict.gam <- function(model, newdata, options) {
  vector_or_matrix(stats::predict(model, newdata, type = "response"))
}

model_predict.bam <- function(model, newdata, options) {
  vector_or_matrix(stats::predict(model, newdata, type = "response", discrete = FALSE, n.threads = 1L, gc.level = 0L))
}

model_options.gam <- function(model, options) {
  refuse_options(options, "a gam answers its response")
}

model_inputs.gam <- function(model) {
  all.vars(model$pred.formula)
}

#' Parametric terms keep their levels, smooths only in the summary of their variables (which has levels for all text).
#' @noRd
model_levels.gam <- function(model, sample) {
  in_smooths <- unlist(lapply(model$smooth, function(smooth) c(smooth$term, smooth$by)))
  smooths <- lapply(Filter(is.factor, model$var.summary[intersect(in_smooths, names(model$var.summary))]), levels)
  known <- as.list(model$xlevels)
  c(known, smooths[setdiff(names(smooths), names(known))])
}

model_packages.gam <- function(model) {
  "mgcv"
}

model_slim.gam <- function(model) {
  slim <- drop_parts(model, c(
    "model", "residuals", "fitted.values", "linear.predictors", "weights", "prior.weights", "y", "hat", "offset", "G",
    "na.action", "dinfo"
  ))
  for (part in c("pterms", "pred.formula")) slim[[part]] <- without_frame(slim[[part]])
  slim
}
