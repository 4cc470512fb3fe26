test_that("rpart answers its value, or class and probabilities as predict() gives them, also with a loss matrix", {
  value <- rpart::rpart(medv ~ ., MASS::Boston)
  expect_identical(model_predict(value, MASS::Boston, list()), predict(value, MASS::Boston))
  class <- rpart::rpart(Species ~ ., iris, parms = list(loss = matrix(c(0, 1, 9, 1, 0, 9, 1, 1, 0), 3)))
  answer <- model_predict(class, iris, list())
  expect_identical(unname(answer$class), unname(predict(class, iris, type = "class")))
  expect_identical(unname(answer$prob.virginica), unname(predict(class, iris)[, "virginica"]))
  expect_identical(names(answer), c("class", paste0("prob.", levels(iris$Species))))
})

test_that("a packaged rpart answers values for missing values", {
  fit <- rpart::rpart(Species ~ ., iris)
  dir <- pack(fit, iris)
  rows <- iris
  rows$Petal.Length[c(1, 70)] <- NA
  expect_identical(answers(dir, rows)$prob.versicolor, unname(predict(fit, rows)[, "versicolor"]))
  expect_identical(read_manifest(dir)$signature$inputs[[3]]$missing, "value")
})
