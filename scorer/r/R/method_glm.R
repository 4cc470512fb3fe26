# glm and its kin (glm.nb, gam): the response, not the link, as a plain vector (gam returns a 1-d array).

model_predict.glm <- function(model, newdata, options) {
  as.vector(stats::predict(model, newdata, type = "response"))
}
