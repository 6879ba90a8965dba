open Microsoft.ML
open Microsoft.ML.Data
open Microsoft.ML.Distributed

[<CLIMutable>]
type Row =
    { Label: bool
      [<VectorType(2)>]
      Features: float32[] }

let ml = MLContext(seed = 1)
let data = ml.Data.LoadFromEnumerable([ for i in 0 .. 399 -> { Label = (i % 3 = 0); Features = [| float32 (i % 3); float32 (i % 5) |] } ])
let trainer = ml.BinaryClassification.Trainers.DistributedNeuralNetwork(DistributedBinaryTrainer.Options(Epochs = 20))
let model = trainer.Fit(data)
printfn "accuracy %.2f" (ml.BinaryClassification.Evaluate(model.Transform(data)).Accuracy)
