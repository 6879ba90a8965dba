CREATE TABLE "ApiKeys" (
    "Id" TEXT NOT NULL CONSTRAINT "PK_ApiKeys" PRIMARY KEY,
    "Hash" BLOB NOT NULL,
    "Name" TEXT NOT NULL,
    "Tenant" TEXT NOT NULL,
    "Scopes" INTEGER NOT NULL,
    "MaxPriority" INTEGER NOT NULL,
    "CreatedAt" INTEGER NOT NULL,
    "RevokedAt" INTEGER NULL
);

CREATE TABLE "Attempts" (
    "Id" TEXT NOT NULL,
    "WorkerId" TEXT NOT NULL,
    "JobId" TEXT NOT NULL,
    "Number" INTEGER NOT NULL,
    "Host" TEXT NOT NULL,
    "FirstRank" INTEGER NOT NULL,
    "Slots" TEXT NOT NULL,
    "StartedAt" INTEGER NOT NULL,
    "EndedAt" INTEGER NULL,
    "Outcome" TEXT NULL,
    "Failure" BLOB NULL,
    CONSTRAINT "PK_Attempts" PRIMARY KEY ("Id", "WorkerId")
);

CREATE TABLE "Blobs" (
    "Id" TEXT NOT NULL CONSTRAINT "PK_Blobs" PRIMARY KEY,
    "SizeBytes" INTEGER NOT NULL,
    "CreatedAt" INTEGER NOT NULL,
    "UsedAt" INTEGER NOT NULL
);

CREATE TABLE "Cordons" (
    "WorkerId" TEXT NOT NULL CONSTRAINT "PK_Cordons" PRIMARY KEY,
    "Reason" TEXT NOT NULL,
    "Since" INTEGER NOT NULL
);

CREATE TABLE "Datasets" (
    "Id" TEXT NOT NULL CONSTRAINT "PK_Datasets" PRIMARY KEY,
    "Tenant" TEXT NOT NULL,
    "RowCount" INTEGER NOT NULL,
    "SizeBytes" INTEGER NOT NULL,
    "CreatedAt" INTEGER NOT NULL,
    "UsedAt" INTEGER NOT NULL
);

CREATE TABLE "JobDocuments" (
    "JobId" TEXT NOT NULL,
    "Kind" INTEGER NOT NULL,
    "Content" BLOB NOT NULL,
    CONSTRAINT "PK_JobDocuments" PRIMARY KEY ("JobId", "Kind")
);

CREATE TABLE "JobEvents" (
    "JobId" TEXT NOT NULL,
    "Sequence" INTEGER NOT NULL,
    "Transient" INTEGER NOT NULL,
    "Event" BLOB NOT NULL,
    CONSTRAINT "PK_JobEvents" PRIMARY KEY ("JobId", "Sequence")
);

CREATE TABLE "JobTransitions" (
    "JobId" TEXT NOT NULL,
    "Sequence" INTEGER NOT NULL,
    "Time" INTEGER NOT NULL,
    "State" INTEGER NOT NULL,
    "Attempt" INTEGER NOT NULL,
    "Reason" TEXT NOT NULL,
    CONSTRAINT "PK_JobTransitions" PRIMARY KEY ("JobId", "Sequence")
);

CREATE TABLE "Jobs" (
    "Id" TEXT NOT NULL CONSTRAINT "PK_Jobs" PRIMARY KEY,
    "Number" INTEGER NOT NULL,
    "Name" TEXT NOT NULL,
    "Tenant" TEXT NOT NULL,
    "RequestId" TEXT NULL,
    "State" INTEGER NOT NULL,
    "Reason" TEXT NOT NULL,
    "Attempt" INTEGER NOT NULL,
    "SubmittedAt" INTEGER NOT NULL,
    "StartedAt" INTEGER NULL,
    "EndedAt" INTEGER NULL,
    "Spec" BLOB NOT NULL,
    "Result" BLOB NULL,
    "Failure" BLOB NULL,
    "Checkpoints" TEXT NOT NULL,
    "Files" TEXT NOT NULL,
    "CancelReason" TEXT NULL
);

CREATE TABLE "JoinTokens" (
    "Hash" BLOB NOT NULL CONSTRAINT "PK_JoinTokens" PRIMARY KEY,
    "CreatedAt" INTEGER NOT NULL,
    "ExpiresAt" INTEGER NOT NULL,
    "UsedAt" INTEGER NULL
);

CREATE TABLE "Owners" (
    "FileId" TEXT NOT NULL,
    "Tenant" TEXT NOT NULL,
    "Since" INTEGER NOT NULL,
    CONSTRAINT "PK_Owners" PRIMARY KEY ("FileId", "Tenant")
);

CREATE TABLE "Starts" (
    "Id" INTEGER NOT NULL CONSTRAINT "PK_Starts" PRIMARY KEY AUTOINCREMENT,
    "Time" INTEGER NOT NULL,
    "Commits" INTEGER NOT NULL
);

CREATE TABLE "Workers" (
    "Id" TEXT NOT NULL CONSTRAINT "PK_Workers" PRIMARY KEY,
    "Host" TEXT NOT NULL,
    "CredentialHash" BLOB NOT NULL,
    "JoinedAt" INTEGER NOT NULL,
    "RevokedAt" INTEGER NULL
);

CREATE UNIQUE INDEX "IX_ApiKeys_Hash" ON "ApiKeys" ("Hash");

CREATE INDEX "IX_Attempts_JobId" ON "Attempts" ("JobId");

CREATE UNIQUE INDEX "IX_Jobs_Number" ON "Jobs" ("Number");

CREATE INDEX "IX_Jobs_State" ON "Jobs" ("State");

CREATE INDEX "IX_Jobs_Tenant_Number" ON "Jobs" ("Tenant", "Number");

CREATE UNIQUE INDEX "IX_Jobs_Tenant_RequestId" ON "Jobs" ("Tenant", "RequestId");

CREATE UNIQUE INDEX "IX_Workers_CredentialHash" ON "Workers" ("CredentialHash");
