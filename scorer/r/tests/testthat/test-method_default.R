robust <- function() {
  set.seed(1)
  MASS::lqs(dist ~ speed, cars)
}

test_that("any class is asked by predict(), with the options given", {
  fit <- ppr(dist ~ speed, data = cars, nterms = 1)
  expect_identical(model_predict(fit, cars, list()), predict(fit, cars))
  rows <- data.frame(speed = c(10, NA, 20))
  expect_identical(model_predict(robust(), rows, list(na.action = "na.omit")),
    predict(robust(), rows, na.action = "na.omit"))
})

test_that("the package of a class's predict method is found and declared", {
  fit <- robust()
  dir <- pack(fit, cars)
  expect_identical(answers(dir, cars)$prediction, unname(predict(fit, cars)))
  expect_named(read_manifest(dir)$packages, "MASS")
})

test_that("a list that predict() gives is a table, a matrix in it a column each", {
  fit <- structure(list(), class = "two_answers")
  registerS3method("predict", "two_answers", function(object, newdata, ...) {
    list(class = factor(newdata$x), posterior = cbind(a = newdata$x, b = 1 - newdata$x))
  })
  expect_named(answer_columns(model_predict(fit, data.frame(x = c(0, 1)), list()))$columns,
    c("class", "posterior.a", "posterior.b"))
})

test_that("options are fixed in the manifest and used at load", {
  fit <- robust()
  dir <- pack(fit, cars, options = list(na.action = "na.pass"))
  expect_identical(read_manifest(dir)$predict$options, list(na.action = "na.pass"))
  expect_identical(answers(dir, cars)$prediction, unname(predict(fit, cars)))
})
