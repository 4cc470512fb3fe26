test_that("a packaged nls answers its formula, missing values in place; parameters are no inputs", {
  fit <- nls(y ~ a + b * x + g[f] * z, typed, start = list(a = 0, b = 1, g = rep(0.1, 3)))
  dir <- pack(fit, typed)
  rows <- holed(c("x", "z", "f"))
  expect_answers(dir, rows, list(prediction = predict(fit, rows)))
  expect_true(read_manifest(dir)$batchable)
  expect_named(missing_said(dir), c("x", "z", "f"))
})

test_that("a self-starting function's gradient is left out", {
  fit <- nls(density ~ SSlogis(log(conc), Asym, xmid, scal), datasets::DNase[1:60, ])
  rows <- data.frame(conc = c(0.5, 2))
  expect_null(attributes(model_predict(fit, rows, list())))
  expect_equal(model_predict(fit, rows, list()), as.vector(predict(fit, rows)))
})
