using Microsoft.ML;
using WebApi;

var builder = WebApplication.CreateBuilder(args);
builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning); // a line a request says little here
builder.Services.AddSingleton(new MLContext(seed: 1)).AddSingleton<DigitModel>();
builder.Services.AddSingleton<TrainingService>().AddHostedService(services => services.GetRequiredService<TrainingService>());
var app = builder.Build();

// How far the training is, and how good the model in use.
app.MapGet("/training", (TrainingService training) => training.Status);

// Trains again, in the background; requests are answered by the model before until the new one is ready.
app.MapPost("/train", (TrainingService training, int? epochs) =>
    epochs is < 1 or > 10_000 ? Results.BadRequest($"epochs is {epochs}, expected 1 to 10,000.")
    : training.TryStart(epochs ?? TrainingService.DefaultEpochs) ? Results.Accepted("/training")
    : Results.Conflict("A training runs already. GET /training shows how far it is."));

// { "pixels": [64 numbers from 0 to 16] }
app.MapPost("/predict", (DigitModel model, Image image) =>
    image.Pixels is not { Length: Digit.PixelCount } pixels || pixels.Any(p => p is not (>= 0 and <= 16)) ? Results.BadRequest($"pixels are not what is expected: {Digit.PixelCount} numbers from 0 to 16, row by row.")
    : model.Predict(pixels) is { } prediction ? Results.Ok(new { digit = (int)prediction.PredictedLabel, probability = prediction.Score.Max() })
    : Results.Problem("The first model is being trained. GET /training shows how far it is.", statusCode: StatusCodes.Status503ServiceUnavailable));

await app.RunAsync();

/// <summary>The body of /predict.</summary>
internal sealed record Image(float[]? Pixels);
