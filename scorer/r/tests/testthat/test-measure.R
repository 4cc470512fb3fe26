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

test_that("what a call uses again of memory that was free counts, for in a fork it is a copy", {
  skip_on_os(c("mac", "windows", "solaris"))
  many <- lapply(1:5e5, function(i) c(i, 1)) # small objects leave R's pages free, not the system's
  rm(many)
  call <- function() length(lapply(1:2e5, function(i) c(i, 1)))
  call()
  grown <- growth_bytes(call)
  expect_gt(grown$peak, 1e7)
  expect_gt(grown$left, 1e7)
})

test_that("a call that fails or does not end in a fork is not waited for", {
  skip_on_os(c("mac", "windows", "solaris"))
  expect_identical(fork_growth_bytes(function() stop("not here")), 0)
  took <- system.time(expect_identical(fork_growth_bytes(function() Sys.sleep(60), seconds = 0.2), 0))
  expect_lt(took[["elapsed"]], 10)
})
