# loess: the value; NA outside the range it was fitted on, unless with surface = "direct".

model_predict.loess <- function(model, newdata, options) {
  as.vector(stats::predict(model, newdata))
}

model_options.loess <- function(model, options) {
  refuse_options(options, "a loess answers its value")
}

model_packages.loess <- function(model) {
  character()
}

model_slim.loess <- function(model) {
  drop_parts(model, c("fitted", "residuals"))
}
