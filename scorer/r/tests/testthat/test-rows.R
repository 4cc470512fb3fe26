test_that("rows are taken, spread and tiled with fresh row names", {
  rows <- data.frame(x = 1:5 / 2, f = factor(letters[1:5]))
  expect_identical(row.names(take_rows(rows, 4:5)), c("1", "2"))
  expect_identical(spread(100L, 3L), c(1L, 50L, 100L))
  expect_identical(spread(2L, 5L), 1:2)
  expect_identical(spread(0L, 5L), integer())
  expect_identical(nrow(tile_rows(rows, 7L)), 10L)
  expect_identical(nrow(tile_rows(rows, 1L)), 5L)
})

test_that("binding rows keeps every column's class", {
  rows <- data.frame(x = 1, s = "a", f = factor("b", levels = c("a", "b"), ordered = TRUE), t = as.Date("2024-01-01"),
    z = structure(1, class = c("POSIXct", "POSIXt"), tzone = "UTC"), l = NA)
  expect_identical(bind_rows(rows, rows), take_rows(rows, c(1L, 1L)))
})
