# The value of a house in Boston: a random forest of 100 trees on MASS::Boston. Rscript train.R OUTDIR
out <- commandArgs(trailingOnly = TRUE)[1]
boston <- MASS::Boston

set.seed(20221101)
forest <- randomForest::randomForest(medv ~ ., data = boston, ntree = 100)

scoregate::package_model(
  forest,
  name = "boston-housing", version = "1", sample = boston, dir = out,
  description = "Median value of owner-occupied homes in a Boston suburb, in 1000 USD (MASS::Boston, 1978)"
)
