#' Young collections until a full one, by which alone something old is found to be gone.
until_full <- function(most) {
  seen <- FALSE
  old <- new.env()
  reg.finalizer(old, function(gone) seen <<- TRUE)
  for (time in 1:2) gc()
  rm(old)
  for (time in seq_len(most)) {
    gc(full = FALSE)
    if (seen) return(time)
  }
  Inf
}

test_that("collections are counted, whoever asks for them, from the fork on", {
  garbage <- garbage_watch()
  for (time in 1:3) gc(full = FALSE)
  garbage$begin()
  collect <- function(times) {
    for (time in seq_len(times)) {
      gc(full = FALSE)
      garbage$called()
    }
  }
  collect(collections_most - 1L)
  expect_false(garbage$full_is_near())
  collect(1L)
  expect_true(garbage$full_is_near())
})

test_that("they are counted beside others that wait for collections", {
  wait <- function() reg.finalizer(new.env(), function(unused) wait())
  garbage <- garbage_watch()
  garbage$begin()
  for (time in seq_len(collections_most)) {
    wait()
    gc(full = FALSE)
    garbage$called()
  }
  expect_true(garbage$full_is_near())
})

test_that("it collects after so much garbage without a collection, and not before", {
  garbage <- garbage_watch()
  garbage$per_call <- garbage_most / 10
  garbage$per_row <- garbage_most / 30
  garbage$begin()
  gone <- FALSE
  leave <- function() reg.finalizer(new.env(), function(unused) gone <<- TRUE)
  call <- function(times) {
    for (time in seq_len(times)) {
      garbage$called(3)
      garbage$tidy()
    }
  }
  call(4L)
  gc(full = FALSE) # as R does by itself: the calls are counted anew
  leave()
  call(5L) # the first of them finds out
  expect_false(gone)
  call(1L)
  expect_true(gone)
})

test_that("what a call leaves is measured, and what each row adds", {
  expect_equal(garbage_of(function() numeric(2e6)), 16e6, tolerance = 0.2)
  expect_lt(garbage_of(function() NULL), 1e6)
  expect_identical(garbage_rates(c(4, 64), 5e6, 11e6), list(per_call = 4.6e6, per_row = 1e5))
  expect_identical(garbage_rates(c(1, 1), 5e6, 5e6), list(per_call = 5e6, per_row = 0))
  expect_identical(garbage_rates(c(4, 64), 0, 0), list(per_call = 1e4, per_row = 0))
})

test_that("a full collection is as far off as can be once the last has been", {
  expect_true(put_off_full_collection())
  expect_gt(until_full(130L), collections_most + 10L)
})
