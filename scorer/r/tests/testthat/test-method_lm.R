test_that("lm answers predict(), or an interval's three columns", {
  fit <- lm(dist ~ speed, cars)
  expect_identical(model_predict(fit, cars, list()), predict(fit, cars))
  options <- model_options(fit, list(interval = "confidence", level = 0.9))
  expect_identical(model_predict(fit, cars, options), predict(fit, cars, interval = "confidence", level = 0.9))
})

test_that("options that lm does not know, and wrong ones, are refused", {
  fit <- lm(dist ~ speed, cars)
  expect_error(model_options(fit, list(type = "terms")), "takes no option \"type\"")
  expect_error(model_options(fit, list(interval = "tolerance")), "prediction")
  expect_error(model_options(fit, list(interval = "prediction", level = 95)), "between 0 and 1")
  expect_identical(model_options(fit, list()), list())
})

test_that("an offset argument's variables are inputs", {
  data <- transform(cars, o = 1)
  expect_identical(model_inputs(lm(dist ~ speed, data, offset = log(o))), c("speed", "o"))
})

test_that("a packaged interval is R's, knots of poly included, to the last bit", {
  fit <- lm(dist ~ poly(speed, 2), cars)
  dir <- pack(fit, cars, interval = "prediction", slim = TRUE)
  expected <- as.data.frame(predict(fit, cars, interval = "prediction", level = 0.95))
  expect_identical(as.data.frame(answers(dir, cars)), expected, ignore_attr = TRUE)
  expect_true(read_manifest(dir)$batchable)
})
