pack_fun <- function(fun, inputs, outputs, example, ..., dir = new_folder()) {
  package_function(fun, "some-function", "1", inputs, outputs, example, dir, ..., quiet = TRUE)
}
payment <- function(principal, rate, years = 30L) {
  stopifnot(rate > 0)
  list(payment = principal * rate, schedule = principal * rate * seq_len(years))
}
loan <- function(fun = payment, ...) {
  pack_fun(fun, list(principal = "numeric", rate = "double", years = "integer"),
    list(payment = "double", schedule = "double[]"), list(principal = 1000, rate = 0.1, years = 3), ...)
}

test_that("a function's package has the manifest the scorer reads, and says how it went", {
  dir <- new_folder()
  told <- said(package_function(payment, "loan", 2,
    inputs = c(principal = "numeric", rate = "double", years = "integer"),
    outputs = list(payment = "double", schedule = "double[]"), example = list(principal = 1000, rate = 0.1, years = 3),
    dir = dir, description = "Pays"))
  expect_match(told, "computes its example as in your session.*rate double.*schedule double\\[\\].*written to")
  manifest <- jsonlite::fromJSON(file.path(dir, "manifest.json"), simplifyVector = FALSE)
  expect_identical(manifest$predict$method, "function")
  expect_identical(manifest$signature$kind, "function")
  expect_identical(manifest$signature$inputs, list(
    list(name = "principal", type = "double", nullable = TRUE), list(name = "rate", type = "double", nullable = FALSE),
    list(name = "years", type = "integer", nullable = FALSE)
  ))
  expect_identical(manifest$signature$outputs[[2L]], list(name = "schedule", type = "double", nullable = TRUE,
    vector = TRUE))
  expect_false(manifest$batchable)
  expect_identical(manifest$example$outputs$schedule, list(100L, 200L, 300L))
  expect_identical(manifest$measured$row_ms, 0L)
})

test_that("a packaged function is called with its inputs, and what does not fit is refused", {
  model <- load_model_package(loan())
  expect_identical(call_function(model, list(years = 2L, rate = 0.5, principal = 10)), list(payment = 5,
    schedule = c(5, 10)))
  expect_error(call_function(model, list(rate = 0.5, principal = 10)), "the function's are")
  expect_error(call_function(model, list(years = c(2L, 3L), rate = 0.5, principal = 10)), "2 values of years")
  expect_error(predict_rows(model, cars), "takes inputs, not rows")
  expect_error(call_function(load_model_package(pack(lm(dist ~ speed, cars), cars)), list()), "takes rows")
  expect_output(print(model), "3 inputs, payment, schedule")
})

test_that("a function takes with it what it has captured, and the objects and files it is given", {
  in_session <- function(code) eval(substitute(code), globalenv())
  tax <- in_session(function(x) x * share)
  maker <- in_session(function(by) {
    force(by)
    function(x) tax(x) * by + from_file
  })
  file <- file.path(tempdir(), "constants.R")
  writeLines("from_file <- 3", file)
  dir <- pack_fun(maker(10), list(x = "double"), list(y = "double"), list(x = 1),
    objects = list(tax = tax, share = 0.5), files = file)
  expect_identical(call_function(load_model_package(dir), list(x = 2)), list(y = 13))
})

test_that("a file that defines run_function is taken as it is", {
  file <- file.path(tempdir(), "run.R")
  writeLines("run_function <- function(when) list(next_day = when + 1)", file)
  dir <- pack_fun(file, list(when = "Date"), list(next_day = "date"), list(when = as.Date("2024-02-28")))
  expect_setequal(list.files(dir), c("manifest.json", "model.rds", "score.R"))
  expect_identical(call_function(load_model_package(dir), list(when = as.Date("1970-01-01")))$next_day, 1)
  writeLines("x <- 1", file)
  expect_error(pack_fun(file, list(x = "double"), list(y = "double"), list(x = 1)), "defines no run_function")
})

test_that("what only the session has is found in the fresh process, and told what to do", {
  assign("base_rate_of_session", 5, envir = globalenv())
  on.exit(rm("base_rate_of_session", envir = globalenv()))
  uses <- function(x) x + base_rate_of_session
  environment(uses) <- globalenv()
  expect_error(pack_fun(uses, list(x = "double"), list(y = "double"), list(x = 1)),
    "fresh R process with no package attached .*base_rate_of_session.*objects=")
  dir <- pack_fun(uses, list(x = "double"), list(y = "double"), list(x = 1), objects = list(base_rate_of_session = 7))
  expect_identical(call_function(load_model_package(dir), list(x = 1))$y, 8)
})

test_that("packages are declared where the code names them, and a missing one is named before anything runs", {
  dir <- pack_fun(function(f) as.vector(nnet::class.ind(f)), list(f = "factor[]"), list(y = "double[]"),
    list(f = factor(c("a", "b"))))
  manifest <- read_manifest(dir)
  expect_named(manifest$packages, "nnet")
  path <- file.path(dir, "manifest.json")
  writeLines(sub('"nnet": "[^"]*"', '"noSuchPackage": "1.0"', readLines(path)), path)
  expect_error(load_model_package(dir), "needs noSuchPackage 1.0, which this R does not have: install.packages",
    class = "scoregate_missing_package")
})

test_that("a function that cannot compute its example, or answers otherwise each time, is refused without a folder", {
  dir <- new_folder()
  expect_error(loan(function(principal, rate, years) stop("no rates today"), dir = dir),
    "cannot compute its own example: no rates today")
  expect_error(pack_fun(function() Sys.getpid(), list(), list(y = "integer"), list(), dir = dir), "answers otherwise")
  calls <- 0
  counter <- function() calls <<- calls + 1
  expect_error(pack_fun(counter, list(), list(y = "double"), list(), dir = dir), "called a second time")
  expect_false(dir.exists(dir))
  expect_length(list.files(dirname(dir), "^[.]package-", all.files = TRUE), 0L)
})

test_that("outputs that are not those declared are refused by name, length and type", {
  returns <- function(value) loan(eval(substitute(function(principal, rate, years) value, list(value = value))))
  expect_error(returns(list(payment = 1)), "returned \"payment\" where its outputs are \"payment\", \"schedule\"")
  expect_error(returns(list(payment = 1, schedule = 1, more = 1)), "with exactly these names")
  expect_error(returns(5), "return a named list, list\\(payment = ..., schedule = ...\\)")
  expect_error(returns(list(payment = c(1, 2), schedule = 1)), "2 values of payment, which is a single double")
  expect_error(returns(list(payment = "1", schedule = 1)), "the function returned a character .1. as payment")
  expect_error(returns(list(payment = 1, schedule = matrix(1, 2, 2))), "as.vector")
})

test_that("arguments and declared inputs must agree, types must be known, the example must fit", {
  expect_error(pack_fun(payment, list(amount = "double"), list(payment = "double"), list(amount = 1)),
    "no argument \"amount\"")
  expect_error(pack_fun(payment, list(principal = "double"), list(payment = "double"), list(principal = 1)),
    "needs \"rate\"")
  expect_error(pack_fun(payment, list(principal = "number"), list(payment = "double"), list(principal = 1)),
    "the type of principal in inputs is \"number\"")
  expect_error(pack_fun(sum, list(x = "factor"), list(y = "double"), list(x = "a")), "must be a factor")
  expect_error(pack_fun(sum, list(x = "double"), list(y = "double"), list(x = c(1, 2))), "\"double\\[\\]\"")
  expect_error(pack_fun(sum, list(x = "integer"), list(y = "double"), list(x = 1.5)), "which is no integer")
  expect_error(pack_fun(sum, list(x = "double"), list(y = "double"), list(z = 1)), "the example's inputs are \"z\"")
  expect_error(pack_fun(sum, list("double"), list(y = "double"), list(x = 1)), "inputs must have names")
  expect_error(pack_fun("no-such.R", list(), list(y = "double"), list()), "fun must be")
  expect_error(pack_fun(sum, list(x = "double[]"), list(), list(x = 1)), "outputs must name at least one")
  expect_error(loan(objects = list(1)), "objects must be a named list")
})

test_that("the bare value of a function with one output is its output, and primitives may be packaged", {
  dir <- pack_fun(sum, list(x = "double[]"), list(total = "double"), list(x = c(1, 2)))
  expect_identical(call_function(load_model_package(dir), list(x = c(1, 2, 4)))$total, 7)
})
