# For tests: a class that drops rows with missing values from its answer, so that all later ones would move up by one.
# Rscript train.R OUTDIR
numbers <- MASS::Boston[1:150, c("crim", "rm", "age", "lstat", "medv")]

scoregate::package_model(
  e1071::svm(medv ~ ., numbers),
  name = "drops-missing", version = "1", dir = commandArgs(trailingOnly = TRUE)[1], packages = "e1071",
  predict = function(model, newdata) unname(stats::predict(model, newdata, na.action = stats::na.omit)),
  sample = numbers, description = "A support vector machine that leaves rows out (for tests)"
)
