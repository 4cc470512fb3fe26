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

#' What survfit() and its summary() say of one row.
one_by_one <- function(model, rows, times) {
  lapply(seq_len(nrow(rows)), function(i) {
    as.vector(summary(survival::survfit(model, rows[i, ], se.fit = FALSE), times = times, extend = TRUE)$surv)
  })
}

test_that("a row's survival is that of its own curve, to the bit, alone and in company", {
  strata <- survival::strata
  times <- sort(c(0, 1e-6, sort(typed$time)[c(1, 60, 240)], 0.5, 1e6))
  for (right in c("x + z + i", "x + l + strata(f)", "o + f", "x + strata(f, o)", "x * strata(o) + f",
    "x + offset(z / 9) + strata(f)")) {
    fit <- survival::coxph(stats::as.formula(paste("survival::Surv(time, status) ~", right)), typed, model = TRUE)
    rows <- typed[c(240:1, 1:9), model_inputs(fit), drop = FALSE]
    expected <- one_by_one(fit, rows, times)
    together <- model_predict(fit, rows, list(times = times))
    expect_named(together, paste0("surv.", vapply(times, format, "", digits = 15L)))
    expect_true(identical(unname(together), lapply(seq_along(times), function(k) vapply(expected, `[[`, 0, k)),
      num.eq = FALSE), label = right)
    for (i in 1:9) {
      alone <- unlist(model_predict(fit, rows[i, , drop = FALSE], list(times = times)), use.names = FALSE)
      expect_true(identical(alone, expected[[i]], num.eq = FALSE), label = right)
    }
  }
})

test_that("strata that survfit() computes, and so does not find, are refused with what to do", {
  strata <- survival::strata
  computed <- survival::coxph(survival::Surv(time, status) ~ x + strata(z > 4), typed, model = TRUE)
  for (rows in list(1L, 1:2, 1:240)) {
    expect_error(model_predict(computed, typed[rows, ], list(times = 1)), "a column and fit the model on that")
  }
})

test_that("rows of strata with missing values are left out, and scored around", {
  strata <- survival::strata
  layered <- survival::coxph(survival::Surv(time, status) ~ x + strata(f), typed, model = TRUE)
  rows <- holed(c("x", "f"))[c("x", "f")]
  whole <- complete.cases(rows)
  expected <- one_by_one(layered, rows[whole, ], c(0.5, 2))
  expect_answers(pack(layered, typed, options = list(times = c(0.5, 2))), rows,
    list(surv.0.5 = among_missing(vapply(expected, `[[`, 0, 1L), whole),
      surv.2 = among_missing(vapply(expected, `[[`, 0, 2L), whole)))
})

test_that("strata cost no more per row in a large call than in a small one", {
  strata <- survival::strata
  layered <- survival::coxph(survival::Surv(time, status) ~ x + strata(f), typed, model = TRUE)
  rows <- take_rows(tile_rows(typed[c("x", "f")], 3000L), 1:3000)
  expect_lt(system.time(model_predict(layered, rows, list(times = c(0.5, 2))))[["elapsed"]], 10)
})

test_that("a call of many rows is answered in blocks, as one of few", {
  layered <- survival::coxph(survival::Surv(time, status) ~ x + survival::strata(f), typed, model = TRUE)
  for (model in list(fit, layered)) {
    rows <- take_rows(tile_rows(typed, 2L * curve_points %/% model$n + 1L), seq_len(2L * curve_points %/% model$n + 1L))
    some <- c(1:3, nrow(rows) - 2:0)
    expect_identical(lapply(model_predict(model, rows, list(times = 1)), `[`, some),
      model_predict(model, take_rows(rows, some), list(times = 1)))
  }
})
