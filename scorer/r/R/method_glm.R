# glm and its kin (glm.nb, gam): the response, not the link, as a plain vector (gam returns a 1-d array).

model_predict.glm <- function(model, newdata, options) {
  as.vector(stats::predict(model, newdata, type = "response"))
}

model_options.glm <- function(model, options) {
  refuse_options(options, "a glm answers its response")
}

model_slim.glm <- function(model) {
  slim <- drop_parts(model, c(
    "model", "data", "residuals", "fitted.values", "effects", "linear.predictors", "weights", "prior.weights", "x", "y",
    "na.action"
  ))
  if (!is.null(slim$qr)) slim$qr <- slim_qr(slim$qr)
  slim
}
