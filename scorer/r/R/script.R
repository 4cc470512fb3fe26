# A model's own code: score.R, which defines predict_model(model, newdata), after any other R files of the package.

load_script <- function(dir, files) {
  code <- grep("[.][rR]$", files, value = TRUE)
  environment <- new.env(parent = globalenv())
  for (file in c(setdiff(code, "score.R"), "score.R")) {
    sys.source(normalizePath(file.path(dir, file)), environment, chdir = TRUE, keep.source = FALSE)
  }
  if (!is.function(environment$predict_model)) {
    abort("score.R defines no predict_model: it must define predict_model <- function(model, newdata) ...")
  }
  environment$predict_model
}
