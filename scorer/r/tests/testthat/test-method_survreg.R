fit <- survival::survreg(survival::Surv(time, status) ~ x + z + i + l + f + o, typed)

test_that("a packaged survreg answers the expected time, missing values in place", {
  dir <- pack(fit, typed, slim = TRUE)
  rows <- holed(c("x", "f", "l"))
  expect_answers(dir, rows, list(prediction = unname(predict(fit, rows))))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "na")
})

test_that("survival at times agrees with the quantiles", {
  dir <- pack(fit, typed, options = list(times = c(1, 5)))
  got <- answers(dir, holed("x"))
  at <- 1 - survival::psurvreg(5, predict(fit, typed[2, ], type = "lp"), fit$scale, fit$dist)
  expect_identical(got$surv.5[2], unname(at))
  expect_equal(unname(predict(fit, typed[2, ], type = "quantile", p = 1 - at)), 5)
  expect_identical(is.na(got$surv.1), is.na(holed("x")$x))
})

test_that("one scale per stratum has no survival at times", {
  strata <- survival::strata
  layered <- survival::survreg(survival::Surv(time, status) ~ x + strata(l), typed)
  expect_error(pack(layered, typed, options = list(times = 1)), "a scale for each of its strata")
})
