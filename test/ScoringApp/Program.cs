// An app of somebody who only has a model file: score MODEL DATA COLUMN prints that column's value for every row.
using Microsoft.ML;
using Microsoft.ML.Data;

var ml = new MLContext();
var model = ml.Model.Load(args[0], out var schema);
var loader = ml.Data.CreateTextLoader(
    [new TextLoader.Column("Features", DataKind.Single, 0, ((VectorDataViewType)schema["Features"].Type).Size - 1)], separatorChar: ',');
var scored = model.Transform(loader.Load(args[1]));
foreach (var value in scored.GetColumn<float>(args[2]))
    Console.WriteLine(value.ToString("R"));
