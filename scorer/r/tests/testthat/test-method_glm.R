test_that("glm answers its response as a plain vector, NA in place", {
  fit <- glm(am ~ wt, binomial(), mtcars)
  rows <- data.frame(wt = c(2, NA, 3))
  expect_identical(model_predict(fit, rows, list()), unname(predict(fit, rows, type = "response")))
  expect_error(model_options(fit, list(type = "link")), "glm answers its response")
})

test_that("a packaged glm with factors, logicals and dates is R's to the last bit", {
  set.seed(3)
  data <- data.frame(f = factor(sample(letters[1:3], 80, TRUE)), l = sample(c(TRUE, FALSE), 80, TRUE),
    t = as.Date("2024-01-01") + 1:80, x = rnorm(80))
  data$y <- rpois(80, exp(0.2 * data$x + 0.3 * data$l))
  fit <- glm(y ~ f + l + t + x, poisson(), data)
  dir <- pack(fit, data)
  data$x[3] <- NA
  expect_identical(answers(dir, data)$prediction, unname(predict(fit, data, type = "response")))
  expect_identical(vapply(read_manifest(dir)$signature$inputs, `[[`, "", "type"),
    c("factor", "logical", "date", "double"))
})

test_that("a packaged glm.nb answers its response without MASS, missing values in place", {
  fit <- suppressWarnings(MASS::glm.nb(count ~ x + z + i + l + f + o + d + t, typed))
  dir <- pack(fit, typed, slim = TRUE)
  rows <- holed(c("x", "f", "d", "t"))
  expect_answers(dir, rows, list(prediction = unname(predict(fit, rows, type = "response"))))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "na")
  expect_length(read_manifest(dir)$packages, 0L)
})
