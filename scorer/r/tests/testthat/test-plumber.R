outputs <- list(list(name = "prediction", type = "double"))
model_of <- function(predictor) {
  structure(
    list(signature = list(inputs = list(list(name = "x", type = "double")), outputs = outputs), predictor = predictor,
      drop = character()),
    class = "scoregate_model"
  )
}
ask <- function(predictor, values) {
  frame_predictor(model_of(predictor))(writeBin(values, raw()), length(values))
}

test_that("a frame is answered with a frame", {
  answer <- ask(function(newdata) 2 * newdata$x, c(1, 2))
  expect_identical(answer$status, 200L)
  expect_identical(answer$headers$`X-Rows`, "2")
  expect_identical(readBin(answer$body, "double", 2L), c(2, 4))
})

test_that("an error is told with its kind and its message", {
  answer <- ask(function(newdata) stop("no such thing"), 1)
  expect_identical(answer$status, 500L)
  expect_identical(answer$headers$`X-Error-Code`, "prediction_failed")
  expect_identical(rawToChar(answer$body), "no such thing")
  expect_identical(ask(function(newdata) 1, c(1, 2))$headers$`X-Error-Code`, "wrong_length")
  expect_identical(ask(function(newdata) list(1), 1)$headers$`X-Error-Code`, "bad_output")
})

test_that("text that is not UTF-8 is refused, not changed", {
  fields <- list(list(name = "prediction", type = "string"))
  model <- model_of(function(newdata) "a\xff")
  model$signature$outputs <- fields
  answer <- frame_predictor(model)(writeBin(1, raw()), 1)
  expect_identical(answer$headers$`X-Error-Code`, "bad_output")
  expect_match(rawToChar(answer$body), "not UTF-8")
})

test_that("whatever a condition has for a message, the answer says what is known", {
  refused <- function(message) {
    odd <- structure(class = c("odd", "error", "condition"), list(message = message, call = NULL))
    answer <- ask(function(newdata) stop(odd), 1)
    expect_identical(answer$status, 500L)
    expect_identical(answer$headers$`X-Error-Code`, "prediction_failed")
    rawToChar(answer$body)
  }
  for (message in list(NULL, "", " \n", list("a"), character(), NA_character_, quote(x), mean)) {
    expect_identical(refused(message), "R stopped without a message (a condition of class odd/error/condition)")
  }
  expect_identical(refused(c("two", "lines")), "two lines")
  expect_identical(refused(7), "7")
  expect_identical(refused("a\xffb"), "a?b")
})

test_that("code that leaves the call for the top level is told so, and the next call is answered", {
  jump <- function(newdata) {
    if (newdata$x == 1) invokeRestart("abort")
    options(digits = 3)
    if (newdata$x == 2) stop(structure(class = c("odd", "condition"), list(message = "odd", call = NULL)))
    newdata$x
  }
  predict_frame <- frame_predictor(model_of(jump))
  digits <- getOption("digits")
  for (x in 1:2) {
    utils::capture.output(answer <- predict_frame(writeBin(as.double(x), raw()), 1), type = "message")
    expect_identical(answer$status, 500L)
    expect_identical(answer$headers$`X-Error-Code`, "prediction_failed")
    expect_match(rawToChar(answer$body), "called invokeRestart(\"abort\"), or stop() with a condition", fixed = TRUE)
    expect_identical(getOption("digits"), digits)
  }
  expect_identical(predict_frame(writeBin(3, raw()), 1)$status, 200L)
})

test_that("the router answers both routes as httpuv asks for them", {
  router <- build_router(model_of(function(newdata) newdata$x))
  expect_identical(call_router(router, "GET", "/ping", raw(), 0)$body, "pong")
  answer <- call_router(router, "POST", "/predict", writeBin(3, raw()), 1)
  expect_identical(answer$status, 200L)
  expect_identical(readBin(answer$body, "double", 1L), 3)
})

test_that("a call leaves the session as it found it", {
  before <- session_state()
  messy <- function(newdata) {
    setwd(tempdir())
    options(digits = 3, scoregate.test = 1)
    set.seed(1, kind = "Wichmann-Hill")
    sink(nullfile())
    attach(list(a = 1), name = "mess")
    Sys.setenv(TZ = "Asia/Tokyo")
    Sys.setlocale("LC_COLLATE", "C")
    newdata$x
  }
  expect_identical(ask(messy, 1)$status, 200L)
  after <- session_state()
  same <- setdiff(names(before), c("locale", "kept_options"))
  expect_identical(after[same], before[same])
})

test_that("options that a call set, removed and added are as they were for the next one, time after time", {
  options(scoregate.there = list(a = 1, b = NULL))
  on.exit(options(scoregate.there = NULL))
  messy <- function(newdata) {
    found <<- options()
    options(digits = 3, scoregate.there = NULL, scoregate.test = 1)
    newdata$x
  }
  predict_frame <- frame_predictor(model_of(messy))
  before <- found <- options()
  for (time in 1:3) {
    predict_frame(writeBin(1, raw()), 1)
    expect_identical(options(), before)
    expect_identical(found, before)
  }
})

test_that("a call finds the session as the first one did", {
  found <- list()
  messy <- function(newdata) {
    found[[length(found) + 1L]] <<- list(getOption("digits"), getwd(), RNGkind())
    options(digits = 3)
    setwd(tempdir())
    set.seed(1, kind = "Wichmann-Hill")
    newdata$x
  }
  predict_frame <- frame_predictor(model_of(messy))
  for (time in 1:3) predict_frame(writeBin(1, raw()), 1)
  expect_identical(found[2:3], found[c(1, 1)])
})

test_that("one whose R is about to collect fully says so, whether it predicts or is pinged", {
  router <- build_router(model_of(function(newdata) newdata$x))
  asked <- function() {
    list(call_router(router, "GET", "/ping", raw(), 0), call_router(router, "POST", "/predict", writeBin(3, raw()), 1))
  }
  said <- function() vapply(asked(), function(answer) identical(answer$headers$`X-Renew`, "collections"), TRUE)
  router$garbage$begin()
  expect_identical(said(), c(FALSE, FALSE))
  for (time in seq_len(collections_most)) {
    gc(full = FALSE)
    router$garbage$called()
  }
  expect_identical(said(), c(TRUE, TRUE))
})

test_that("every so many pings R uses again what they used", {
  gone <- FALSE
  tidy <- tidier(every = 3L)
  reg.finalizer(new.env(), function(unused) gone <<- TRUE)
  for (ping in 1:3) tidy()
  expect_true(gone)
})
