fit <- survival::coxph(survival::Surv(time, status) ~ x + z + i + l + f + o, typed, model = TRUE)

test_that("a packaged coxph answers its risk, missing values in place", {
  dir <- pack(fit, typed)
  rows <- holed(c("x", "f", "l"))
  expect_answers(dir, rows, list(prediction = unname(predict(fit, rows, type = "risk"))))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "na")
})

test_that("survival at times given at packaging is survfit()'s; rows with missing values are NA", {
  dir <- pack(fit, typed, options = list(times = c(9, 0.5, 1e6)))
  expect_identical(read_manifest(dir)$predict$options$times, list(0.5, 9L, 1000000L))
  rows <- holed(c("x", "f"))[c("x", "z", "i", "l", "f", "o")]
  whole <- complete.cases(rows)
  at <- summary(survival::survfit(fit, rows[whole, ]), times = c(0.5, 9, 1e6), extend = TRUE)$surv
  expect_answers(dir, rows, list(surv.0.5 = among_missing(at[1, ], whole), surv.9 = among_missing(at[2, ], whole),
    `surv.1e+06` = among_missing(at[3, ], whole)))
  expect_identical(unique(missing_said(dir)), "drop")
})

test_that("strata have curves of their own", {
  strata <- survival::strata
  layered <- survival::coxph(survival::Surv(time, status) ~ x + strata(f), typed, model = TRUE)
  dir <- pack(layered, typed, options = list(times = "0.5,2"))
  one <- summary(survival::survfit(layered, typed[9, ]), times = c(0.5, 2), extend = TRUE)$surv
  expect_answers(dir, typed[9, ], list(surv.0.5 = one[1], surv.2 = one[2]))
})

test_that("a fit without its data cannot tell survival", {
  bare <- survival::coxph(survival::Surv(time, status) ~ x, typed)
  expect_error(pack(bare, typed, options = list(times = 1)), "model = TRUE")
  expect_error(model_options(fit, list(times = -1)), "at least 0")
  expect_answers(pack(bare, typed, slim = TRUE), typed, list(prediction = unname(predict(bare, typed, type = "risk"))))
})
