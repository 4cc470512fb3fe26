test_that("a packaged loess answers its value, NA outside its range and for missing values", {
  fit <- loess(y ~ x + z, typed)
  dir <- pack(fit, typed, slim = TRUE)
  rows <- holed(c("x", "z"))
  rows$x[4] <- 99
  expect_answers(dir, rows, list(prediction = unname(predict(fit, rows))))
  expect_true(is.na(answers(dir, rows)$prediction[4]))
  expect_true(read_manifest(dir)$batchable)
})
