skip_if_not_installed("mgcv")
gam <- mgcv::gam
s <- mgcv::s

test_that("a packaged gam answers its response as a plain vector, missing values in place", {
  fit <- gam(two ~ s(x) + s(z, by = f) + s(f, bs = "re") + i + l + o, binomial(), typed)
  dir <- pack(fit, typed, slim = TRUE)
  rows <- holed(c("x", "f", "l"))
  expect_answers(dir, rows, list(prediction = unname(predict(fit, rows, type = "response"))))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "na")
  expect_named(read_manifest(dir)$packages, "mgcv")
  expect_error(model_options(fit, list(type = "link")), "a gam answers its response")
})

test_that("a bam fitted with discrete = TRUE is batchable", {
  fit <- mgcv::bam(y ~ s(x) + s(z) + f, data = typed, discrete = TRUE, nthreads = 1)
  dir <- pack(fit, typed)
  rows <- holed(c("x", "f"))
  expect_answers(dir, rows, list(prediction = as.vector(predict(fit, rows, discrete = FALSE))))
  expect_true(read_manifest(dir)$batchable)
})

test_that("offsets are inputs and several parameters are columns", {
  fit <- gam(count ~ s(x) + offset(log(z)), poisson(), typed)
  expect_setequal(model_inputs(fit), c("x", "z"))
  both <- gam(list(y ~ s(x), ~ 1), mgcv::gaulss(), typed)
  expect_identical(dim(model_predict(both, typed, list())), c(nrow(typed), 2L))
})

test_that("text in a smooth has the levels of the fit, text in a function stays text", {
  data <- transform(typed, f = as.character(f), s = strrep("a", i))
  fit <- gam(y ~ s(x) + nchar(s), data = transform(data, f = factor(f)))
  expect_identical(model_levels(fit, data), list())
  fit <- gam(y ~ s(x) + s(f, bs = "re"), data = transform(data, f = factor(f)))
  expect_identical(model_levels(fit, data), list(f = sort(levels(typed$f))))
})
