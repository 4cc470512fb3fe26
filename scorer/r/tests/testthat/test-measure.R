test_that("costs are measured as a fixed and a marginal part", {
  model <- loaded(function(d) {
    until <- Sys.time() + 0.002
    while (Sys.time() < until) NULL
    d$x
  }, data.frame(x = 1))
  cost <- measure_cost(model, data.frame(x = 1))
  expect_gt(cost$fixed_ms, 1.5)
  expect_lt(cost$row_ms, 0.1)
  expect_gte(cost$peak_64_rows_bytes, 0)
})

test_that("memory is known on Linux", {
  skip_on_os(c("mac", "windows", "solaris"))
  expect_gt(process_bytes(), 1e7)
  expect_gt(growth_bytes(function() sum(numeric(5e6)))$peak, 2e7)
})
