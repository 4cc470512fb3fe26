test_that("times come as numbers or as text, and go in order, once", {
  expect_identical(survival_times(list(times = c(9, 1, 9)), "x"), list(times = c(1, 9)))
  expect_identical(survival_times(list(times = "90, 0.1"), "x"), list(times = c(0.1, 90)))
  expect_identical(survival_times(list(), "x"), list())
  expect_error(survival_times(list(times = "soon"), "x"), "at least 0")
  expect_error(survival_times(list(type = "lp"), "a coxph answers its risk"), "takes no option \"type\"")
})
